# METADATA
# title: A field says how long it is kept
# description: |
#   Text and bytes can hold anything a person wrote. Without a retention hint a sink keeps them for ever.
# labels:
#   controls: [GDPR-5.1.e]
# custom:
#   severity: warn
#   message: "{field} is {type} and has no retention"
#   remediation: "Add a retention hint to {field}, for example [retention: 90d]."
package dataspine.rules.retention.hint_missing

import data.dataspine.lib.result

# METADATA
# description: One violation per field of a type that, in this format, needs a hint and has none.
deny contains violation if {
	input.point == "schema.publish"
	types := data.dataspine.lexicon.retained_types[input.facts.format]
	some i, field in input.facts.fields
	field.type in types
	not _has_retention(field)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/retention", [i]),
		"field": field.path,
		"line": field.line,
		"type": field.type,
	})
}

_has_retention(field) if trim_space(field.retention) != ""
