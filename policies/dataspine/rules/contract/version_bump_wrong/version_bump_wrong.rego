# METADATA
# title: A claimed version is the one that the change makes
# description: |
#   The registry derives the version from the difference to the one before. A claim that says less than the change
#   does misleads consumers, and one that says more makes them prepare for nothing.
# labels:
#   controls: [SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{subject} claims version {claimed}, and the change makes it {next}"
#   remediation: "Claim {next}, or claim nothing."
package dataspine.rules.contract.version_bump_wrong

import data.dataspine.lib.result

# METADATA
# description: A version is claimed, and it is not the next one.
deny contains violation if {
	input.point == "schema.publish"
	not input.facts.version.claimed == null
	not input.facts.version.claimed == input.facts.version.next

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/version/claimed",
		"subject": input.facts.name,
		"claimed": input.facts.version.claimed,
		"next": input.facts.version.next,
	})
}
