# METADATA
# title: New readers read old data
# description: |
#   A version that cannot read what the versions before it wrote breaks every consumer that upgrades. How far
#   back is the compatibility level of the subject.
# labels:
#   controls: [SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{subject} is not {level} compatible: {messages}"
#   remediation: Give new fields a default, keep the types of old ones, or publish under a new subject.
package dataspine.rules.contract.incompatible

import data.dataspine.lib.result

# METADATA
# description: Compatibility was not found to hold.
deny contains violation if {
	input.point == "schema.publish"
	not input.facts.compatibility.compatible == true

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/compatibility/compatible",
		"subject": input.facts.name,
		"level": input.facts.compatibility.level,
		"messages": array.slice(input.facts.compatibility.messages, 0, 3),
	})
}
