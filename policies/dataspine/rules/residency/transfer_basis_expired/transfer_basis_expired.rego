# METADATA
# title: A transfer's legal basis still runs
# description: |
#   The matrix allows a transfer on a dated basis, such as standard contractual clauses. From its last moment on the
#   transfer is denied until the basis is renewed.
# labels:
#   controls: [GDPR-44, GDPR-46]
# custom:
#   severity: error
#   message: "{table}.{field} is {classification}; the basis {basis} to take it from {home} to {target} ended {until}"
#   remediation: Renew the basis and its date in the matrix, or stop the transfer.
package dataspine.rules.residency.transfer_basis_expired

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# description: One violation per sink, table, column, classification and listed home whose basis is over.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some s, sink in input.facts.sinks
	target := transfers.geography(sink.region)
	some table in input.facts.tables
	some home in table.homes # "allowed" lists none: what may not go parks
	some column in table.columns
	some classification in column.classifications
	entry := transfers.entry(classification, home, target)
	entry.allow == true
	not transfers.is_allowed(classification, home, target, input.at)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/sinks/%d/region", [s]),
		"field": column.path,
		"table": table.name,
		"line": sink.line,
		"classification": classification,
		"home": home,
		"target": target,
		"basis": object.get(entry, ["basis", "name"], "without a name"),
		"until": object.get(entry, ["basis", "until"], "at an unknown time"),
	})
}
