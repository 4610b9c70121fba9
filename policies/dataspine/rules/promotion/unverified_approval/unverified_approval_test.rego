package dataspine.rules.promotion.unverified_approval_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.promotion.unverified_approval

test_nothing_to_approve_passes[note] if {
	some note, flipped in {
		"unverified approver": _flipped("ada", ["grace"], []),
		"unverified author": _flipped("local:ada@m", ["grace"], ["grace"]),
	}
	question := fixture.changed(flipped, "/facts/impact/deny_to_allow", 0)
	unverified_approval.deny == set() with input as question
}

test_no_approver_is_the_business_of_another_rule if {
	unverified_approval.deny == set() with input as _flipped("ada", [], [])
	unverified_approval.deny == set() with input as _flipped("ada", [" "], [])
}

test_own_approval_is_the_business_of_another_rule if {
	unverified_approval.deny == set() with input as _flipped("ada", ["ada"], ["ada"])
}

test_verified_approver_passes[note] if {
	some note, question in {
		"another": _flipped("ada", ["grace"], ["grace"]),
		"beside one who is not": _flipped("ada", ["local:eve@m", "grace"], ["grace"]),
		"two of whom none can be an unknown author alone": _flipped("local:eve@m", ["bo", "grace"], ["bo", "grace"]),
	}
	unverified_approval.deny == set() with input as question
}

test_development_needs_no_token if {
	question := fixture.changed(_flipped("ada", ["local:grace@m"], []), "/facts/mode", "dev")
	unverified_approval.deny == set() with input as question
}

test_question_from_before_is_answered_as_then if {
	facts := object.remove(
		_flipped("ada", ["grace"], []).facts,
		{"channel", "mode", "verified", "verified_approvers"},
	)
	question := {"point": "bundle.promote", "at": fixture.at, "facts": facts}
	unverified_approval.deny == set() with input as question
}

test_unverified_approval_is_denied[note] if {
	some note, verified in {
		"alone": [],
		"beside the author's own": ["ada", " ADA"],
		"beside one who did not approve": ["bo"],
	}
	approvers := ["local:grace@m", "ada", " ADA"]
	some violation in unverified_approval.deny with input as _flipped("ada", approvers, verified)
	violation == _violation("local:grace@m", "approved", "/facts/approvers")
}

test_each_unverified_approver_is_named if {
	unverified_approval.deny == {
		_violation("local:grace@m", "approved", "/facts/approvers"),
		_violation("bo", "approved", "/facts/approvers"),
	} with input as _flipped("ada", ["local:grace@m", "bo"], [])
}

test_unknown_mode_is_strict[note] if {
	some note, mode in {"null": null, "another": "DEV", "released": "released"}
	question := fixture.changed(_flipped("ada", ["local:grace@m"], []), "/facts/mode", mode)
	unverified_approval.deny == {_violation("local:grace@m", "approved", "/facts/approvers")} with input as question
}

test_unverified_author_may_be_the_one_approver[note] if {
	some note, author in {"as written": "local:ada@m", "spelt otherwise": " LOCAL:ada@m"}
	question := _flipped(author, ["ada"], ["ada"])
	unverified_approval.deny == {_violation(author, "wrote", "/facts/candidate/author")} with input as question
}

_flipped(author, approvers, verified) := json.patch(fixture.promotion, [
	{"op": "add", "path": "/facts/impact/deny_to_allow", "value": 3},
	{"op": "add", "path": "/facts/candidate/author", "value": author},
	{"op": "add", "path": "/facts/approvers", "value": approvers},
	{"op": "add", "path": "/facts/verified_approvers", "value": verified},
])

_violation(name, deed, path) := {
	"code": "promotion.unverified_approval",
	"severity": "error",
	"message": sprintf("%s %s 1.5.0+sha256.aa without a token that proves who that is", [name, deed]),
	"path": path,
	"remediation": "Publish, and approve as another, with a token of your own in SPINE_TOKEN (`spine access token`).",
	"controls": ["SOC2-CC5.1", "SOC2-CC6.1", "SOC2-CC8.1"],
}

test_undefined_input_is_no_question if unverified_approval.deny == set() with input as {}
