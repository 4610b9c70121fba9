# METADATA
# description: |
#   What of a decision leaves OPA with its log. OPA evaluates both rules with the event as `input`. An event that
#   the mask cannot judge would be lost while its caller got an answer: so no rule here reads what may be missing
#   without its negation, and the only places that are erased are ones that OPA lets a mask touch.
package dataspine.log

# METADATA
# title: Which parts of the event are erased
# description: |
#   A whole question keeps everything, because it holds facts and guard columns only and must replay. Whatever
#   else was sent may hold anything: it was refused, and its input is erased.
mask contains "/input" if not _is_question

mask contains "/input/row" if not _is_guarded

# The answer of another path than a point's could repeat what was sent.
mask contains "/result" if not _is_point

# It would copy the arguments of calls, past every other rule.
mask contains "/nd_builtin_cache" if input.nd_builtin_cache

# METADATA
# title: Whether the event is not sent at all
# description: A look at OPA's own state is no decision. Nothing else is dropped.
default drop := false

drop if startswith(input.path, "system/")

_is_point if regex.match(`^dataspine/main/[a-z_]+$`, input.path)

# Rules and not functions: the negation of a call is undefined, not true, when its argument is missing.
_is_question if {
	object.keys(input.input) - {"point", "at", "facts", "row"} == set()
	time.parse_rfc3339_ns(input.input.at) > 0
	_is_whole
}

# The answer of a point is a judgement only on a whole question; anything else was refused. To match the facts
# again would cost a third of the decision.
_is_whole if {
	input.path == sprintf("dataspine/main/%s", [replace(input.input.point, ".", "_")])
	is_object(data.dataspine.schemas[input.input.point]) # regal ignore:unresolved-reference
	object.keys(input.result) == {"allow", "violations", "obligations", "policy", "valid_until"}
	is_array(input.result.violations)
	codes := [violation.code | some violation in input.result.violations; is_string(violation.code)]
	count(codes) == count(input.result.violations)
	not _is_refusal(codes)
} else if {
	schema := data.dataspine.schemas[input.input.point] # regal ignore:unresolved-reference
	json.match_schema(input.input.facts, schema.properties.facts)[0]
}

_is_refusal(codes) if {
	some code in codes
	startswith(code, "engine.invalid_")
}

_is_guarded if not "row" in object.keys(input.input)

_is_guarded if {
	is_object(input.input.row)
	every column, value in input.input.row {
		_is_guard(column, input.input.facts)
		not is_array(value)
		not is_object(value)
	}
}

_is_guard(column, facts) if column in facts.guard_columns

_is_guard(column, facts) if facts.home.column == column
