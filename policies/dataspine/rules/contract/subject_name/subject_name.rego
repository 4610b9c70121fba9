# METADATA
# title: A subject is named as the workspace names subjects
# description: |
#   Owners, exceptions and grants match subjects by name. The configuration says under `subjects.pattern` what a
#   name looks like; without it every name is allowed.
# labels:
#   controls: [SOC2-CC2.1]
# custom:
#   severity: error
#   message: "the subject {subject} does not match {pattern}"
#   remediation: Rename the subject, or change `subjects.pattern` in spine.yaml.
package dataspine.rules.contract.subject_name

import data.dataspine.lib.config
import data.dataspine.lib.result

# METADATA
# description: The name does not match the whole pattern.
deny contains violation if {
	input.point == "schema.publish"
	pattern := config.subject_pattern
	not regex.match(sprintf("^(?:%s)$", [pattern]), input.facts.name)

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/name",
		"subject": input.facts.name,
		"pattern": pattern,
	})
}
