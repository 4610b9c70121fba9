# METADATA
# title: Loosening a rule has an approver
# description: |
#   The candidate answered recorded questions again. Where it allows what was denied, somebody has to have looked.
#   What could not be replayed is not known to stay denied, but is counted for the approver to see.
# labels:
#   controls: [SOC2-CC8.1, GDPR-24]
# custom:
#   severity: error
#   message: "{revision} allows {count} questions that were denied, and nobody approved it"
#   remediation: "Look at them with `spine policy impact`; who is not the author then runs `spine bundle approve`."
package dataspine.rules.promotion.deny_to_allow

import data.dataspine.lib.result

# METADATA
# description: Answers flip from deny to allow, and no approver is named.
deny contains violation if {
	input.point == "bundle.promote"
	not input.facts.impact.deny_to_allow == 0
	not _is_approved

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/approvers",
		"revision": input.facts.candidate.revision,
		"count": input.facts.impact.deny_to_allow,
	})
}

_is_approved if {
	some approver in input.facts.approvers
	trim_space(approver) != ""
}
