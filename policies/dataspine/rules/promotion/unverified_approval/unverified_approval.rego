# METADATA
# title: Whoever approves is known by more than a name
# description: |
#   Where answers flip from deny to allow on a released channel, a verified approver (one whose token proved the name)
#   has looked who is not the author. An author without a token may be anybody: then two verified approvers have.
#   In mode `dev`, where one person tries their rules, and in questions from before approvals were verified, every
#   approval counts.
# labels:
#   controls: [SOC2-CC5.1, SOC2-CC6.1, SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{name} {deed} {revision} without a token that proves who that is"
#   remediation: "Publish, and approve as another, with a token of your own in SPINE_TOKEN (`spine access token`)."
package dataspine.rules.promotion.unverified_approval

import data.dataspine.lib.result

# METADATA
# description: Somebody approved, nobody verified but the author did.
deny contains violation if {
	_is_four_eyes_step
	count(_verified_others) == 0
	some name in (_approvers - _verified)

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/approvers",
		"name": name,
		"deed": "approved",
		"revision": input.facts.candidate.revision,
	})
}

# METADATA
# description: The author is not verified, and may be the only verified approver.
deny contains violation if {
	_is_four_eyes_step
	startswith(_author, "local:")
	count(_verified_others) == 1

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/candidate/author",
		"name": input.facts.candidate.author,
		"deed": "wrote",
		"revision": input.facts.candidate.revision,
	})
}

_is_four_eyes_step if {
	input.point == "bundle.promote"
	not input.facts.impact.deny_to_allow == 0
	not input.facts.mode == "dev"
}

_author := lower(trim_space(input.facts.candidate.author))

_approvers contains approver if {
	some approver in input.facts.approvers
	trim_space(approver) != ""
}

# Questions from before approvals were verified are answered as they were then.
_verified contains approver if {
	some approver in object.get(input.facts, "verified_approvers", _approvers)
	approver in _approvers
}

_verified_others contains known if {
	some approver in _verified
	known := lower(trim_space(approver))
	known != _author
}
