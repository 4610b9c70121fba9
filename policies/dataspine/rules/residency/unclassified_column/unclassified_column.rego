# METADATA
# title: A replicated column has a field in its subject
# description: A column without a field in a registered schema has no classification, so no transfer is meant for it.
# labels:
#   controls: [GDPR-30]
# custom:
#   severity: error
#   message: "{table}.{field} has no field in a registered schema"
#   remediation: Publish a version of the table's subject with {field}, or leave the column out of the publication.
package dataspine.rules.residency.unclassified_column

import data.dataspine.lib.result

# METADATA
# description: One violation per column that was sent as Unclassified.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some t, table in input.facts.tables
	some c, column in table.columns
	"Unclassified" in column.classifications

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/tables/%d/columns/%d", [t, c]),
		"field": column.path,
		"table": table.name,
		"line": column.line,
	})
}
