package dataspine.rules.promotion.sequence_not_newer_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.sequence_not_newer

test_newer_sequence_passes if sequence_not_newer.deny == set() with input as fixture.promotion

test_first_bundle_of_a_channel_passes if sequence_not_newer.deny == set() with input as _at(null, 1)

test_older_and_equal_are_denied[note] if {
	some note, case in {"older": [{"sequence": 41}, 40, 41], "equal": [{"sequence": 41}, 41, 41], "local": [null, 0, 0]}
	sequence_not_newer.deny == {{
		"code": "promotion.sequence_not_newer",
		"severity": "error",
		"message": sprintf("1.5.0+sha256.aa has sequence %d; stable is at %d", [case[1], case[2]]),
		"path": "/facts/candidate/sequence",
		"remediation": sprintf(
			"Publish the content again under a sequence over %d; to go back, run `spine bundle rollback`.",
			[case[2]],
		),
		"controls": ["SOC2-CC8.1"],
	}} with input as _at(case[0], case[1])
}

_at(current, sequence) := json.patch(fixture.promotion, [
	{"op": "add", "path": "/facts/current", "value": current},
	{"op": "add", "path": "/facts/candidate/sequence", "value": sequence},
])

test_undefined_input_is_no_question if sequence_not_newer.deny == set() with input as {}
