# METADATA
# title: What people were promised to be deleted is not kept longer
# description: |
#   A retention is a promise about data that are already there. Prolonging it, or dropping it, for a field that is
#   classified needs a reason and an approver: a dated exception.
# labels:
#   controls: [GDPR-5.1.b, GDPR-5.1.e]
# custom:
#   severity: error
#   message: "{field} was kept {before} in version {version} and would be kept {retention}"
#   remediation: "Keep {before}, or ask for a dated exception."
package dataspine.rules.retention.prolonged

import data.dataspine.lib.durations
import data.dataspine.lib.result

# METADATA
# description: One violation per classified field whose retention in the latest version was shorter.
deny contains violation if {
	input.point == "schema.publish"
	some before in input.facts.previous.fields
	durations.is_valid(before.retention)
	some i, field in input.facts.fields
	field.path == before.path
	_is_classified(field, before)
	not _is_kept(field, before)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/retention", [i]),
		"field": field.path,
		"line": field.line,
		"before": before.retention,
		"retention": _shown(field),
		"version": input.facts.previous.version,
	})
}

_is_classified(field, before) if {
	some classification in array.concat(field.classifications, before.classifications)
	not classification in {"Internal", "Public"}
}

_is_kept(field, before) if durations.seconds(field.retention) <= durations.seconds(before.retention)

_shown(field) := field.retention if {
	is_string(field.retention)
} else := "for ever"
