package dataspine.rules.contract.version_bump_wrong_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.contract.version_bump_wrong

test_right_claims_pass[note] if {
	some note, claimed in {"none": null, "right": "1.0.0"}
	version_bump_wrong.deny == set() with input as _claimed(claimed)
}

test_wrong_claim_is_denied[claimed] if {
	some claimed in ["1.0.1", "2.0.0", "", "1.0"]
	version_bump_wrong.deny == {{
		"code": "contract.version_bump_wrong",
		"severity": "error",
		"message": sprintf("shop.customers claims version %s, and the change makes it 1.0.0", [claimed]),
		"path": "/facts/version/claimed",
		"remediation": "Claim 1.0.0, or claim nothing.",
		"controls": ["SOC2-CC8.1"],
	}} with input as _claimed(claimed)
}

_claimed(claimed) := fixture.changed(fixture.schema([]), "/facts/version/claimed", claimed)

test_undefined_input_is_no_question if version_bump_wrong.deny == set() with input as {}
