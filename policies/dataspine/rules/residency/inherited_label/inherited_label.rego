# METADATA
# title: A classification travels with the data
# description: |
#   What a column was computed from it still is, until a trusted masking step stands between. A column whose field
#   does not say so would take that data where they may not go. No adapter sends what columns were computed from yet, so
#   that today this rule denies nothing.
# labels:
#   controls: [GDPR-25, GDPR-30]
#   waits-for: tables[].columns[].inherited
# custom:
#   severity: error
#   message: "{table}.{field} comes from {from}, which is {classification}, and is not classified so"
#   remediation: "Tag {field} as {classification} in its subject, or mask it where it is computed."
package dataspine.rules.residency.inherited_label

import data.dataspine.lib.result

# METADATA
# description: One violation per column and inherited classification that its own do not name.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some t, table in input.facts.tables
	some c, column in table.columns
	some label in column.inherited
	label.classification != "Public"
	not label.classification in column.classifications

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/tables/%d/columns/%d", [t, c]),
		"field": column.path,
		"table": table.name,
		"line": column.line,
		"classification": label.classification,
		"from": label.from,
	})
}
