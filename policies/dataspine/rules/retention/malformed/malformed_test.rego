package dataspine.rules.retention.malformed_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.retention.malformed

test_durations_pass[text] if {
	some text in ["P90D", "P2Y", "P2Y6M", "P4W", "PT12H", "P1DT1H", null, " "]
	malformed.deny == set() with input as _kept(text)
}

test_other_texts_are_denied[text] if {
	some text in ["90d", "P", "PT", "P1H", "P-1D", "P1.5Y", "for ever", "P9999999D", "P1D1Y"]
	malformed.deny == {{
		"code": "retention.malformed",
		"severity": "error",
		"message": sprintf("the retention of id is no duration: %s", [text]),
		"path": "/facts/fields/0/retention",
		"field": "id",
		"line": 4,
		"remediation": "Write it like P90D, P2Y6M or PT12H, or short: 90d, 6mo, 2y, 12h.",
		"controls": ["GDPR-5.1.e"],
	}} with input as _kept(text)
}

test_only_the_malformed_one_is_named if {
	other := object.union(fixture.field, {"retention": "long"})
	{violation.path | some violation in malformed.deny} == {"/facts/fields/1/retention"} with input as fixture.schema([
		fixture.field,
		other,
	])
}

_kept(text) := fixture.schema([object.union(fixture.field, {"retention": text})])

test_undefined_input_is_no_question if malformed.deny == set() with input as {}
