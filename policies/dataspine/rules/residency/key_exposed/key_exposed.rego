# METADATA
# title: A classified key is masked at every sink
# description: |
#   A key outlives its row, in positions and tombstones. A classified one is masked, by a method that keeps
#   different keys apart, or rows of different people would become one.
# labels:
#   controls: [GDPR-17, GDPR-32]
# custom:
#   severity: error
#   message: "{table}.{field} is a key, is {classification}, and reaches {sink} without a mask that keeps keys apart"
#   remediation: "Add `{table}.{field}: {methods}` to the masks of {sink}, or choose a key that identifies nobody."
package dataspine.rules.residency.key_exposed

import data.dataspine.lib.result
import data.dataspine.lib.transfers

# METADATA
# description: One violation per sink, key column and classification that may not stand in a key.
deny contains violation if {
	input.point in {"dead_letter.replay", "route.deploy"}
	some s, sink in input.facts.sinks
	some table in input.facts.tables
	some column in table.columns
	column.key == true
	some classification in column.classifications
	not classification in data.dataspine.lexicon.keys.classifications
	not _is_masked(sink.masks, transfers.mask_of(table.name, column))

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/sinks/%d/masks", [s]),
		"field": column.path,
		"table": table.name,
		"line": sink.line,
		"sink": sink.name,
		"classification": classification,
		"methods": data.dataspine.lexicon.keys.methods,
	})
}

_is_masked(masks, column) if masks[column] in data.dataspine.lexicon.keys.methods
