# METADATA
# title: A field that looks personal carries a classification
# description: |
#   Personal data without a classification cannot be routed, masked or erased. Whether a field looks personal is
#   read from the words of its name and of the record around it, with the bundle's lexicon.
# labels:
#   controls: [GDPR-30, SOC2-CC6.1]
# custom:
#   severity: error
#   message: "{field} looks personal ({because}) and carries no classification"
#   remediation: "Tag {field}, for example [pii], or waive it with a reason: [not-pii: <why>]."
package dataspine.rules.pii.untagged_field

import data.dataspine.lib.result

# METADATA
# description: One violation per field that looks personal, is untagged and is not waived.
deny contains violation if {
	input.point == "schema.publish"
	some i, field in input.facts.fields
	not field.tagged == true
	not field.type in data.dataspine.lexicon.harmless_types
	because := _suspicions({token | some token in field.tokens})
	count(because) > 0
	not _is_waived(field)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d", [i]),
		"field": field.path,
		"line": field.line,
		"because": because,
	})
}

_is_waived(field) if trim_space(field.waiver.reason) != ""

# A phrase is found by its head; its other words must stand in the name too, and no word that makes it harmless.
_suspicions(tokens) := {phrase.why |
	some token in tokens
	some phrase in data.dataspine.lexicon.personal[token]
	every word in phrase.with {
		word in tokens
	}
	every word in phrase.unless {
		not word in tokens
	}
}
