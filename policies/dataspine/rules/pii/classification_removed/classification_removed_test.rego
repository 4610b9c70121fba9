package dataspine.rules.pii.classification_removed_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.pii.classification_removed

test_nothing_before_passes if classification_removed.deny == set() with input as fixture.schema([fixture.field])

test_other_changes_pass[note] if {
	some note, before in {
		"same": {"path": "id", "classifications": ["PII"], "retention": null},
		"was public": {"path": "id", "classifications": ["Public"], "retention": null},
		"field is gone": {"path": "email", "classifications": ["PCI"], "retention": null},
	}
	classification_removed.deny == set() with input as _question(before, ["PII"])
}

test_lost_classification_is_denied[note] if {
	some note, now in {"public": ["Public"], "another": ["Internal"]}
	classification_removed.deny == {{
		"code": "pii.classification_removed",
		"severity": "error",
		"message": "id was PII in version 1.0.0 and no longer is",
		"path": "/facts/fields/0/classifications",
		"field": "id",
		"line": 4,
		"remediation": "Tag id as PII again; if it never was, ask for a dated exception.",
		"controls": ["GDPR-25", "GDPR-32"],
	}} with input as _question({"path": "id", "classifications": ["PII", "Internal"], "retention": null}, _with(now))
}

_with(now) := now if "Internal" in now

_with(now) := array.concat(now, ["Internal"]) if not "Internal" in now

_question(before, now) := fixture.changed(
	fixture.schema([object.union(fixture.field, {"classifications": now})]),
	"/facts/previous",
	{"version": "1.0.0", "fields": [before]},
)

test_undefined_input_is_no_question if classification_removed.deny == set() with input as {}
