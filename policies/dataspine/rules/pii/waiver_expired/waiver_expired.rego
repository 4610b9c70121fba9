# METADATA
# title: A dated waiver still runs
# description: |
#   `[not-pii: why; until 2027-06-30]` waives until the beginning of that day, UTC. What is no date has no end that
#   anybody could check, and waives nothing.
# labels:
#   controls: [GDPR-5.2]
# custom:
#   severity: error
#   message: "the waiver of {field} ended: until {until}"
#   remediation: "Tag {field}, or renew the waiver with a date to come, as in [not-pii: <why>; until 2027-06-30]."
package dataspine.rules.pii.waiver_expired

import data.dataspine.lib.result
import data.dataspine.lib.waivers

# METADATA
# description: One violation per waiver whose date is over, or no date.
deny contains violation if {
	input.point == "schema.publish"
	some i, field in input.facts.fields
	is_object(field.waiver)
	not waivers.is_running(field.waiver, input.at)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/waiver", [i]),
		"field": field.path,
		"line": field.line,
		"until": object.get(field.waiver, "until", ""),
	})
}
