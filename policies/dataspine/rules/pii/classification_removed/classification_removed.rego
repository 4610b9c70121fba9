# METADATA
# title: A field keeps its classification
# description: |
#   Data written before are still what they were. A field that loses its classification would send them, and all
#   that is written from now on, where only public data may go.
# labels:
#   controls: [GDPR-25, GDPR-32]
# custom:
#   severity: error
#   message: "{field} was {classification} in version {version} and no longer is"
#   remediation: "Tag {field} as {classification} again; if it never was, ask for a dated exception."
package dataspine.rules.pii.classification_removed

import data.dataspine.lib.result

# METADATA
# description: One violation per classification, other than Public, that the latest version had.
deny contains violation if {
	input.point == "schema.publish"
	some before in input.facts.previous.fields
	some i, field in input.facts.fields
	field.path == before.path
	some classification in before.classifications
	classification != "Public"
	not classification in field.classifications

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/classifications", [i]),
		"field": field.path,
		"line": field.line,
		"classification": classification,
		"version": input.facts.previous.version,
	})
}
