# METADATA
# title: A retention is a duration
# description: A retention that no sink can read is not kept. Durations are written as in ISO 8601, or short as 90d, 2y.
# labels:
#   controls: [GDPR-5.1.e]
# custom:
#   severity: error
#   message: "the retention of {field} is no duration: {retention}"
#   remediation: "Write it like P90D, P2Y6M or PT12H, or short: 90d, 6mo, 2y, 12h."
package dataspine.rules.retention.malformed

import data.dataspine.lib.durations
import data.dataspine.lib.result

# METADATA
# description: One violation per field with a retention that is no duration.
deny contains violation if {
	input.point == "schema.publish"
	some text in _malformed
	some i, field in input.facts.fields
	field.retention == text

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/retention", [i]),
		"field": field.path,
		"line": field.line,
		"retention": field.retention,
	})
}

# Many fields say the same, so each text is read once. A blank one is missing, not malformed.
_malformed contains text if {
	some text in {field.retention | some field in input.facts.fields}
	trim_space(text) != ""
	not durations.is_valid(text)
}
