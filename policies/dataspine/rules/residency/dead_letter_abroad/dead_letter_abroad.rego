# METADATA
# title: Parked rows stay where they came from
# description: A dead letter holds whole rows that were not allowed to leave, so it lies in the region of its sources.
# labels:
#   controls: [GDPR-44]
# custom:
#   severity: error
#   message: "the dead letter is in {region}, and the rows it parks come from {source} in {home}"
#   remediation: "Move the dead letter to {home}, or give sources of other regions their own route."
package dataspine.rules.residency.dead_letter_abroad

import data.dataspine.lib.result

# METADATA
# description: One violation per source in another region than the dead letter.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some source in input.facts.sources
	not input.facts.dead_letter.region == source.region

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/dead_letter/region",
		"line": input.facts.dead_letter.line,
		"region": input.facts.dead_letter.region,
		"source": source.name,
		"home": source.region,
	})
}
