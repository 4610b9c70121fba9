# METADATA
# title: A schema names its owner
# description: Without an owner nobody approves a change, and nobody is called when data stops flowing.
# labels:
#   controls: [SOC2-CC1.3]
# custom:
#   severity: warn
#   message: "{subject} names no owner"
#   remediation: Add `owner` to the metadata, or map the subject's prefix to a team under `owners` in spine.yaml.
package dataspine.rules.contract.owner_missing

import data.dataspine.lib.result

# METADATA
# description: The owner is missing, blank or no text.
deny contains violation if {
	input.point == "schema.publish"
	not _has_owner

	violation := result.violation(rego.metadata.chain(), {"path": "/facts/metadata/owner", "subject": input.facts.name})
}

_has_owner if trim_space(input.facts.metadata.owner) != ""
