# METADATA
# title: A route does what its transfers oblige to
# description: |
#   The matrix may allow a transfer on a condition, such as a mask. A sink that does not fulfil it takes nothing.
#   Two obligations that no sink can fulfil at once are never fulfilled.
# labels:
#   controls: [GDPR-32, GDPR-46]
# custom:
#   severity: error
#   message: "{table}.{field} owes {type} {method} on its way from {home} to {target}"
#   remediation: "Add `{table}.{field}: {method}` to the masks of {sink}."
package dataspine.rules.residency.obligation_missing

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# description: One violation per sink, table, column, listed home and obligation that is not fulfilled.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some s, sink in input.facts.sinks
	some table in input.facts.tables
	some home in table.homes # "allowed" lists none: homes whose obligations are not met park
	some column in table.columns
	some obligation in transfers.unmet(column, home, table.name, sink)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/sinks/%d/masks", [s]),
		"field": column.path,
		"table": table.name,
		"line": sink.line,
		"sink": sink.name,
		"type": obligation.type,
		"method": object.get(obligation, "method", ""),
		"home": home,
		"target": transfers.geography(sink.region),
	})
}

# METADATA
# description: |
#   The masks that the allow rests on, for every home whose rows the route may send. Where one is missing, all that
#   is owed for the homes that a table lists, so that a denied route is told what to add.
obligations contains obligation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some s, sink in input.facts.sinks
	some table in input.facts.tables
	some home in _homes(table, sink)
	some column in table.columns
	some owed in transfers.owed(column, home, transfers.geography(sink.region))

	obligation := {
		"type": owed.type,
		"path": sprintf("/facts/sinks/%d/masks/%s", [s, result.escape(transfers.mask_of(table.name, column))]),
		"field": column.path,
		"method": owed.method,
	}
}

_homes(table, sink) := {home | some home in table.homes} if {
	count(deny) > 0
	is_array(table.homes)
} else := transfers.clear_homes(table.name, table.columns, table.homes, sink, input.at)
