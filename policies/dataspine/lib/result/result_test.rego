package dataspine.lib.result_test

import data.dataspine.lib.result

test_missing_words_silence_nothing if {
	every chain in [
		[{"path": ["dataspine", "rules", "pii", "odd", "deny"]}],
		[{
			"path": ["dataspine", "rules", "pii", "odd", "deny"],
			"annotations": {"scope": "rule", "custom": {"message": "x"}},
		}],
		[{"path": ["dataspine", "rules", "pii", "odd"], "annotations": {"scope": "package"}}],
	] {
		result.violation(chain, {}) == {
			"code": "pii.odd",
			"severity": "error",
			"message": "a rule without words is broken",
			"remediation": "",
			"controls": [],
			"path": "",
		}
	}
}

test_words_are_those_of_the_package_filled_with_facts if {
	chain := [
		{"path": ["dataspine", "custom", "shop", "odd", "deny"], "annotations": {"scope": "rule", "title": "x"}},
		{"path": ["dataspine", "custom", "shop", "odd"], "annotations": {
			"scope": "package",
			"labels": {"controls": ["GDPR-5"]},
			"custom": {"severity": "warn", "message": "{field} is {size}", "remediation": "Shrink {field}."},
		}},
	]
	result.violation(chain, {"path": "/x", "field": "a", "line": 7, "size": 9}) == {
		"code": "shop.odd",
		"severity": "warn",
		"message": "a is 9",
		"remediation": "Shrink a.",
		"controls": ["GDPR-5"],
		"path": "/x",
		"field": "a",
		"line": 7,
	}
}

test_a_line_that_nobody_knows_is_left_out if {
	chain := [{"path": ["dataspine", "rules", "pii", "odd", "deny"]}]
	violation := result.violation(chain, {"path": "/x", "line": null})
	object.keys(violation) == {"code", "severity", "message", "remediation", "controls", "path"}
}

test_templates_are_filled if {
	facts := {"a": "x", "b": {"z", "y"}, "c": 7, "e": ["v", "u"], "f": {"g": 1}}
	result.fill("{a} {b} {c} {d} {e} {f}", facts) == `x y, z 7 {d} u, v {"g": 1}`
}

test_pointers_are_escaped if result.escape("a/b~c") == "a~1b~0c"
