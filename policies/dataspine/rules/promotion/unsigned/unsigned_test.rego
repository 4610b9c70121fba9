package dataspine.rules.promotion.unsigned_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.unsigned

test_signed_bundle_passes if unsigned.deny == set() with input as fixture.promotion

test_unsigned_bundle_is_denied[note] if {
	some note, key in {"null": null, "blank": " ", "number": 7}
	unsigned.deny == {{
		"code": "promotion.unsigned",
		"severity": "error",
		"message": "1.5.0+sha256.aa is not signed",
		"path": "/facts/candidate/key_id",
		"remediation": "Sign the bundle with a key that is trusted for stable, then promote it.",
		"controls": ["SOC2-CC8.1"],
	}} with input as fixture.changed(fixture.promotion, "/facts/candidate/key_id", key)
}

test_undefined_input_is_no_question if unsigned.deny == set() with input as {}
