package dataspine.rules.promotion.deny_to_allow_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.deny_to_allow

test_no_flip_needs_no_approver if deny_to_allow.deny == set() with input as fixture.promotion

test_approved_flip_passes if deny_to_allow.deny == set() with input as _flipped(["grace"])

test_unapproved_flip_is_denied[note] if {
	some note, approvers in {"none": [], "blank": [" "]}
	deny_to_allow.deny == {{
		"code": "promotion.deny_to_allow",
		"severity": "error",
		"message": "1.5.0+sha256.aa allows 3 questions that were denied, and nobody approved it",
		"path": "/facts/approvers",
		"remediation": "Look at them with `spine policy impact`; who is not the author then runs `spine bundle approve`.",
		"controls": ["SOC2-CC8.1", "GDPR-24"],
	}} with input as _flipped(approvers)
}

_flipped(approvers) := json.patch(fixture.promotion, [
	{"op": "add", "path": "/facts/impact/deny_to_allow", "value": 3},
	{"op": "add", "path": "/facts/approvers", "value": approvers},
])

test_undefined_input_is_no_question if deny_to_allow.deny == set() with input as {}
