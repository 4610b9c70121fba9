package dataspine.rules.retention.prolonged_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.retention.prolonged

test_nothing_before_passes if prolonged.deny == set() with input as fixture.schema([fixture.field])

test_kept_promises_pass[note] if {
	some note, case in {
		"same": ["P1Y", ["PII"], "P1Y"],
		"shorter": ["P1Y", ["PII"], "P30D"],
		"was for ever": [null, ["PII"], "P9Y"],
		"was malformed": ["long", ["PII"], "P9Y"],
		"public": ["P1Y", ["Public"], "P9Y"],
		"internal": ["P1Y", ["Internal"], null],
	}
	prolonged.deny == set() with input as _question(case[0], case[1], case[2])
}

test_longer_is_denied[note] if {
	some note, case in {
		"longer": ["P2Y", "P2Y"],
		"dropped": [null, "for ever"],
		"malformed": ["long", "long"],
	}
	prolonged.deny == {_expected(case[1])} with input as _question("P1Y", ["PII"], case[0])
}

test_declassified_field_keeps_its_promise if {
	before := {"path": "id", "classifications": ["PII"], "retention": "P1Y"}
	field := object.union(fixture.field, {"retention": "P2Y"})
	prolonged.deny == {_expected("P2Y")} with input as fixture.changed(
		fixture.schema([field]),
		"/facts/previous",
		{"version": "1.0.0", "fields": [before]},
	)
}

test_other_fields_promised_nothing if {
	field := object.union(fixture.field, {"path": "email", "classifications": ["PII"], "retention": "P9Y"})
	prolonged.deny == set() with input as fixture.changed(
		fixture.schema([field]),
		"/facts/previous",
		{"version": "1.0.0", "fields": [{"path": "id", "classifications": ["PII"], "retention": "P1Y"}]},
	)
}

_question(before, classifications, now) := fixture.changed(
	fixture.schema([object.union(fixture.field, {"classifications": classifications, "retention": now})]),
	"/facts/previous",
	{"version": "1.0.0", "fields": [{"path": "id", "classifications": ["Public"], "retention": before}]},
)

_expected(retention) := {
	"code": "retention.prolonged",
	"severity": "error",
	"message": sprintf("id was kept P1Y in version 1.0.0 and would be kept %s", [retention]),
	"path": "/facts/fields/0/retention",
	"field": "id",
	"line": 4,
	"remediation": "Keep P1Y, or ask for a dated exception.",
	"controls": ["GDPR-5.1.b", "GDPR-5.1.e"],
}

test_undefined_input_is_no_question if prolonged.deny == set() with input as {}
