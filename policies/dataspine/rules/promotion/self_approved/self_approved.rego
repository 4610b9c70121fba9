# METADATA
# title: Nobody approves their own rules
# description: Where answers flip from deny to allow, one approver at least is neither the author nor blank.
# labels:
#   controls: [SOC2-CC5.1, SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{author} wrote {revision} and is alone in approving it"
#   remediation: "Name an approver who is not {author}."
package dataspine.rules.promotion.self_approved

import data.dataspine.lib.result

# METADATA
# description: Answers flip from deny to allow, and nobody but the author approved.
deny contains violation if {
	input.point == "bundle.promote"
	not input.facts.impact.deny_to_allow == 0
	count(input.facts.approvers) > 0
	not _is_seen_by_another

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/approvers",
		"author": input.facts.candidate.author,
		"revision": input.facts.candidate.revision,
	})
}

_is_seen_by_another if {
	some approver in input.facts.approvers
	trim_space(approver) != ""
	lower(trim_space(approver)) != lower(trim_space(input.facts.candidate.author))
}
