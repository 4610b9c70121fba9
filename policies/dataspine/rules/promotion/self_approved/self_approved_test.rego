package dataspine.rules.promotion.self_approved_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.self_approved

test_nothing_to_approve_passes if self_approved.deny == set() with input as _flipped(0, ["ada"])

test_no_approver_is_the_business_of_another_rule if self_approved.deny == set() with input as _flipped(3, [])

test_another_approver_passes if self_approved.deny == set() with input as _flipped(3, ["ada", "grace"])

test_own_approval_is_denied[note] if {
	some note, approvers in {"alone": ["ada"], "spelt otherwise": [" ADA"], "with a blank": ["ada", " "]}
	self_approved.deny == {{
		"code": "promotion.self_approved",
		"severity": "error",
		"message": "ada wrote 1.5.0+sha256.aa and is alone in approving it",
		"path": "/facts/approvers",
		"remediation": "Name an approver who is not ada.",
		"controls": ["SOC2-CC5.1", "SOC2-CC8.1"],
	}} with input as _flipped(3, approvers)
}

_flipped(flips, approvers) := json.patch(fixture.promotion, [
	{"op": "add", "path": "/facts/impact/deny_to_allow", "value": flips},
	{"op": "add", "path": "/facts/approvers", "value": approvers},
])

test_undefined_input_is_no_question if self_approved.deny == set() with input as {}
