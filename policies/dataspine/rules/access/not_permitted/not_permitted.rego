# METADATA
# title: Who acts is permitted to
# description: |
#   The local user of a workspace without `auth` may do everything; anybody else what `access` in spine.yaml grants
#   to their name or to one of their roles.
# labels:
#   controls: [SOC2-CC6.1, SOC2-CC6.3, GDPR-32]
# custom:
#   severity: error
#   message: "{principal} may not {permission} {resource}"
#   remediation: "Ask for `{permission}` on {resource}: a grant under `access.grants` in spine.yaml."
package dataspine.rules.access.not_permitted

import data.dataspine.lib.access
import data.dataspine.lib.result

# METADATA
# description: The principal asks for a permission that nothing gives.
deny contains violation if {
	input.point == "api.access"
	not access.is_permitted(input.facts, input.facts.permission, input.facts.resource)

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/permission",
		"principal": input.facts.name,
		"permission": input.facts.permission,
		"resource": input.facts.resource,
	})
}

# METADATA
# description: Whoever replays dead letters needs `replay` on the route.
deny contains violation if {
	input.point == "dead_letter.replay"
	not access.is_permitted(input.facts.actor, "replay", input.facts.name)

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/actor",
		"principal": input.facts.actor.name,
		"permission": "replay",
		"resource": input.facts.name,
	})
}
