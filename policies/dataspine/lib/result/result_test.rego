package dataspine.lib.result_test

import data.dataspine.lib.result

test_missing_words_silence_nothing if {
	violation := result.violation([{"path": ["dataspine", "rules", "pii", "odd", "deny"]}], {"path": "/x", "line": null})
	violation == {
		"code": "pii.odd",
		"severity": "error",
		"message": "a rule without words is broken",
		"remediation": "",
		"controls": [],
		"path": "/x",
	}
}

test_templates_are_filled if {
	result.fill("{a} {b} {c} {d}", {"a": "x", "b": {"z", "y"}, "c": 7}) == "x y, z 7 {d}"
}

test_pointers_are_escaped if result.escape("a/b~c") == "a~1b~0c"
