# METADATA
# title: Nothing is kept longer than its classification allows
# description: The configuration says under `retention.maximum` how long data of a classification may be kept.
# labels:
#   controls: [GDPR-5.1.e]
# custom:
#   severity: error
#   message: "{field} is {classification} and kept {retention}; {maximum} is the longest"
#   remediation: "Shorten the retention of {field} to {maximum} or less."
package dataspine.rules.retention.exceeds_maximum

import data.dataspine.lib.config
import data.dataspine.lib.durations
import data.dataspine.lib.result

# METADATA
# description: One violation per field and classification whose maximum the retention is over, or does not name.
deny contains violation if {
	input.point == "schema.publish"
	some classification, maximum in config.maximum_retention
	some i, field in input.facts.fields
	classification in field.classifications
	not _is_within(field, maximum)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/retention", [i]),
		"field": field.path,
		"line": field.line,
		"classification": classification,
		"retention": _shown(field),
		"maximum": maximum,
	})
}

# Without a retention a field is kept for ever.
_is_within(field, maximum) if durations.seconds(field.retention) <= durations.seconds(maximum)

_shown(field) := field.retention if {
	is_string(field.retention)
} else := "for ever"
