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
	some i in _suspects
	field := input.facts.fields[i]
	not field.tagged == true
	not field.type in data.dataspine.lexicon.harmless_types
	because := _suspicions(field.tokens)
	count(because) > 0
	not _is_waived(field)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d", [i]),
		"field": field.path,
		"line": field.line,
		"because": because,
	})
}

# Few fields have the head of a phrase in their name; only those are looked at closely.
_suspects contains i if {
	some i, field in input.facts.fields
	some token in field.tokens
	data.dataspine.lexicon.personal[token]
}

_is_waived(field) if trim_space(field.waiver.reason) != ""

# A phrase is found by its head, unless another of its words is missing or a word that makes it harmless is there.
# What is malformed in the lexicon makes nothing harmless.
_suspicions(tokens) := {_why(phrase) |
	some token in tokens
	some phrase in _phrases(data.dataspine.lexicon.personal[token])
	not _is_harmless(phrase, tokens)
}

_is_harmless(phrase, tokens) if {
	some word in phrase.with
	not word in tokens
}

_is_harmless(phrase, tokens) if {
	some word in phrase.unless
	word in tokens
}

_phrases(found) := found if {
	is_array(found)
} else := [{}]

_why(phrase) := phrase.why if {
	is_string(phrase.why)
} else := "a word of the lexicon"
