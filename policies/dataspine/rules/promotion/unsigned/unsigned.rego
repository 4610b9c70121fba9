# METADATA
# title: Only a signed bundle is promoted
# description: Without a signature nobody knows whose rules these are, and no OPA that verifies would load them.
# labels:
#   controls: [SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{revision} is not signed"
#   remediation: "Sign the bundle with a key that is trusted for {channel}, then promote it."
package dataspine.rules.promotion.unsigned

import data.dataspine.lib.result

# METADATA
# description: The candidate names no key.
deny contains violation if {
	input.point == "bundle.promote"
	not _is_signed

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/candidate/key_id",
		"revision": input.facts.candidate.revision,
		"channel": input.facts.name,
	})
}

_is_signed if trim_space(input.facts.candidate.key_id) != ""
