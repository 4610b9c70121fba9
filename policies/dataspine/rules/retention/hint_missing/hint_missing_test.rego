package dataspine.rules.retention.hint_missing_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.retention.hint_missing

test_hints_and_short_types_pass[note] if {
	some note, change in {"hint": {}, "number": {"type": "int", "retention": null}}
	hint_missing.deny == set() with input as fixture.schema([object.union(fixture.field, change)])
}

test_avro_owes_no_hint if {
	question := fixture.schema([object.union(fixture.field, {"retention": null})])
	hint_missing.deny == set() with input as fixture.changed(question, "/facts/format", "AVRO")
}

test_missing_hint_warns[type] if {
	some type in ["string", "bytes"]
	every retention in [null, " "] {
		hint_missing.deny == {{
			"code": "retention.hint_missing",
			"severity": "warn",
			"message": sprintf("id is %s and has no retention", [type]),
			"path": "/facts/fields/0/retention",
			"field": "id",
			"line": 4,
			"remediation": "Add a retention hint to id, for example [retention: 90d].",
			"controls": ["GDPR-5.1.e"],
		}} with input as fixture.schema([object.union(fixture.field, {"type": type, "retention": retention})])
	}
}

test_undefined_input_is_no_question if hint_missing.deny == set() with input as {}
