# METADATA
# title: A row goes only where its home's data may go
# description: |
#   A row is let through when its home is known, declared by the route, and clear: every column may go to the sink
#   as the sink takes it. Other rows are parked in the source's region.
# labels:
#   controls: [GDPR-44]
# custom:
#   severity: error
#   message: "a row of {table} at home in {home} may not go to {sink}"
#   remediation: The row is parked. Declare its home, mask as obliged, or add the transfer to the matrix; then replay.
package dataspine.rules.residency.home_not_allowed

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# scope: document
# description: Whether the row may go. Everything but `input.row` is known when OPA compiles it to a filter.
row_ok if {
	some home in _clear_homes
	input.row[input.facts.home.column] in data.dataspine.matrix.geographies[home].countries
}

row_ok if input.facts.home.constant in _clear_homes

# METADATA
# description: The home of the row is unknown, undeclared or not clear.
deny contains violation if {
	input.point == "row.replicate"
	not row_ok

	violation := result.violation(rego.metadata.chain(), {
		"path": "/row",
		"table": input.facts.table,
		"home": _home,
		"sink": input.facts.sink.name,
	})
}

# METADATA
# description: The masks that the row's home obliges the sink to.
obligations contains obligation if {
	input.point == "row.replicate"
	some home in (_row_homes & _clear_homes)
	some column in input.facts.columns
	some owed in transfers.owed(column, home, transfers.geography(input.facts.sink.region))

	obligation := {
		"type": owed.type,
		"path": sprintf("/facts/sink/masks/%s", [result.escape(transfers.mask_of(input.facts.table, column))]),
		"field": column.path,
		"method": owed.method,
	}
}

_row_homes contains input.facts.home.constant

_row_homes contains home if {
	some home, geography in data.dataspine.matrix.geographies
	input.row[input.facts.home.column] in geography.countries
}

default _home := "an unknown country"

_home := input.row[input.facts.home.column]

_home := input.facts.home.constant

_clear_homes := transfers.clear_homes(
	input.facts.table,
	input.facts.columns,
	input.facts.homes,
	input.facts.sink,
	input.at,
)
