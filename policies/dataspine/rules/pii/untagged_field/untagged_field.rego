# METADATA
# title: A field that looks personal is tagged as such, or says why not
# description: |
#   Personal data without a classification cannot be routed, masked or erased. Whether a field looks personal is
#   weighed from the words of its name, the words around it and its type, with the bundle's lexicon. Public and
#   Internal claim that it is not, so that they need the same reason as a waiver beside them.
# labels:
#   controls: [GDPR-30, SOC2-CC6.1]
# custom:
#   severity: error
#   message: "{field} looks personal ({because}) and {is}"
#   remediation: "Tag {field}, for example [pii], or waive it with a reason: [not-pii: <why>]."
package dataspine.rules.pii.untagged_field

import data.dataspine.lib.result

# METADATA
# description: One violation per field that looks personal, is not tagged as such and is not waived.
deny contains violation if {
	input.point == "schema.publish"
	some i in _suspects
	field := input.facts.fields[i]
	not _is_protected(field)
	not _is_waived(field)
	because := _suspicions(field)
	count(because) > 0

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d", [i]),
		"field": field.path,
		"line": field.line,
		"because": because,
		"is": _is(field),
	})
}

# Few fields have a word of the lexicon in their name; only those are weighed.
_suspects contains i if {
	terms := data.dataspine.lexicon.terms # read once: a look-up in the store costs more than the whole
	some i, field in input.facts.fields
	some word in field.tokens
	terms[word]
}

# A name without separators may be a compound whose first or last part says it.
_suspects contains i if {
	some i, field in input.facts.fields
	count(field.tokens) == 1 # asked first: a call for each field costs more than all the rest
	_stems(field) != []
}

# What its record is, a field without a tag of its own is too.
_is_protected(field) if {
	some classification in field.classifications
	not classification in _claims
}

_is_waived(field) if trim_space(field.waiver.reason) != ""

# Who calls a field one of these claims that it is not personal.
_claims := {"Internal", "Public"}

_is(field) := sprintf("is only %s", [concat(" and ", sort(field.classifications))]) if {
	_is_claimed(field)
} else := "carries no classification"

_is_claimed(field) if field.tagged == true

# Without a tag of its own a field is Public; Internal is what its record was called.
_is_claimed(field) if "Internal" in field.classifications

_stems(field) := regex.find_n(data.dataspine.lexicon.stems, field.tokens[0], 1) if {
	count(field.tokens[0]) >= data.dataspine.lexicon.compound
}

# Each word that weighs enough, with what speaks for and against it around.
_suspicions(field) := {_because(word, term, field) |
	around := _around(field)
	some word in array.concat(field.tokens, _compounds(field))
	term := data.dataspine.lexicon.terms[word]
	(term.weight + around) + _beside(word, field) >= data.dataspine.lexicon.threshold
}

_compounds(field) := _stems(field) if {
	count(field.tokens) == 1
} else := []

# What the type and the record say is the same for every word of a name.
_around(field) := object.get(data.dataspine.lexicon.types, field.type, 0) + sum([weight |
	some word in field.context
	weight := data.dataspine.lexicon.around[word]
])

# The other words of the name; those that are written into a term, as in `zipcode`, are no others.
_beside(term, field) := sum([weight |
	some word in field.tokens
	weight := data.dataspine.lexicon.beside[word]
	not contains(term, word)
])

_because(word, term, field) := term.why if {
	term.weight >= data.dataspine.lexicon.threshold
} else := sprintf("%s, as %s suggests", [term.why, concat(" and ", sort(_hints(word, field)))])

_hints(term, field) := {word |
	some word in field.tokens
	data.dataspine.lexicon.beside[word] > 0
	not contains(term, word)
} | {word | some word in field.context; data.dataspine.lexicon.around[word] > 0}
