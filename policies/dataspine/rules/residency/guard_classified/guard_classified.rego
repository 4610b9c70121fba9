# METADATA
# title: A guard column is public
# description: |
#   The values of guard columns enter every question about a row, and questions are logged. So a guard column is
#   Public and nothing else; one without a column, whose classification nobody knows, is not.
# labels:
#   controls: [GDPR-25]
# custom:
#   severity: error
#   message: "{table}.{field} decides where rows go and is not only Public ({classifications})"
#   remediation: Guard by a Public column, such as a country code, or use a constant home.
package dataspine.rules.residency.guard_classified

import data.dataspine.lib.result

# METADATA
# description: One violation per guard column that is classified, or unknown.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some t, table in input.facts.tables
	some guard in _guards(table)
	classifications := _classifications(table, guard)
	classifications != {"Public"}

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/tables/%d/guard_columns", [t]),
		"field": guard,
		"table": table.name,
		"line": table.line,
		"classifications": _named(classifications),
	})
}

_guards(table) := {guard | some guard in table.guard_columns} | {guard | guard := table.home.column}

_classifications(table, guard) := {classification |
	some column in table.columns
	column.path == guard
	some classification in column.classifications
}

_named(classifications) := classifications if {
	count(classifications) > 0
} else := "unknown"
