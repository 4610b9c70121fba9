# METADATA
# title: Every region belongs to a geography
# description: A region that the matrix does not list is nowhere, and nothing may go there or stay there.
# labels:
#   controls: [GDPR-44]
# custom:
#   severity: error
#   message: "the region {region} of {what} belongs to no geography of the matrix"
#   remediation: Correct the region, or add it to the regions of its geography in the matrix.
package dataspine.rules.residency.region_unknown

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# description: One violation per source, sink or dead letter in an unknown region.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some place in _places
	transfers.geography(place.region) == "unknown"

	violation := result.violation(rego.metadata.chain(), place)
}

_places contains place if {
	some kind in ["sources", "sinks"]
	some i, system in input.facts[kind]

	place := {
		"path": sprintf("/facts/%s/%d/region", [kind, i]),
		"line": system.line,
		"region": system.region,
		"what": system.name,
	}
}

_places contains {
	"path": "/facts/dead_letter/region",
	"line": input.facts.dead_letter.line,
	"region": input.facts.dead_letter.region,
	"what": "the dead letter",
}
