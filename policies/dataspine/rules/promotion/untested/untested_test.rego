package dataspine.rules.promotion.untested_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.untested

test_tested_bundle_passes if untested.deny == set() with input as fixture.promotion

test_one_test_is_enough if {
	tests := {"passed": 1, "failed": 0, "coverage": 100}
	untested.deny == set() with input as fixture.changed(fixture.promotion, "/facts/candidate/tests", tests)
}

test_untested_bundle_is_denied[note] if {
	some note, case in {
		"no result": [null, 0, 0],
		"no test": [{"passed": 0, "failed": 0, "coverage": null}, 0, 0],
		"a failure": [{"passed": 9, "failed": 1, "coverage": 100}, 9, 1],
	}
	untested.deny == {{
		"code": "promotion.untested",
		"severity": "error",
		"message": sprintf("1.5.0+sha256.aa is not tested: %d tests passed, %d failed", [case[1], case[2]]),
		"path": "/facts/candidate/tests",
		"remediation": "Run `spine policy test`, correct what fails, and publish the bundle with its result.",
		"controls": ["SOC2-CC8.1"],
	}} with input as fixture.changed(fixture.promotion, "/facts/candidate/tests", case[0])
}

test_undefined_input_is_no_question if untested.deny == set() with input as {}
