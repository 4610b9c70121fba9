# METADATA
# title: Data goes only where the matrix lets its home's data go
# description: |
#   Every classification of every column needs, for every home that the route lists and every sink, an entry of
#   the residency matrix that allows it.
# labels:
#   controls: [GDPR-44]
# custom:
#   severity: error
#   message: "{table}.{field} is {classification} and may not go from {home} to {target}"
#   remediation: Drop {table}.{field}, choose another sink, or add the transfer with its basis to the matrix.
package dataspine.rules.residency.region_denied

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# description: One violation per sink, table, column, classification and listed home.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some s, sink in input.facts.sinks
	target := transfers.geography(sink.region)
	some table in input.facts.tables
	some home in table.homes # "allowed" lists none: what may not go parks
	some column in table.columns
	some classification in column.classifications
	not transfers.entry(classification, home, target).allow == true

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/sinks/%d/region", [s]),
		"field": column.path,
		"table": table.name,
		"line": sink.line,
		"classification": classification,
		"home": home,
		"target": target,
	})
}
