# METADATA
# title: A classification is one that the rules know
# description: |
#   A word that neither the product nor the residency matrix knows has no transfer, no mask and no retention, so
#   data tagged with it are stuck; and a misspelt tag protects nothing.
# labels:
#   controls: [GDPR-30]
# custom:
#   severity: error
#   message: "{field} is classified {classification}, which is no classification"
#   remediation: Use PII, PCI, Restricted, Internal or Public, or add {classification} to the matrix.
package dataspine.rules.pii.unknown_classification

import data.dataspine.lib.result

# METADATA
# description: One violation per field and word that is unknown.
deny contains violation if {
	input.point == "schema.publish"
	some classification in _unknown
	some i, field in input.facts.fields
	classification in field.classifications

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/classifications", [i]),
		"field": field.path,
		"line": field.line,
		"classification": classification,
	})
}

# Many fields say the same, so each word is looked up once.
_unknown contains classification if {
	some classification in {word | some word in input.facts.fields[_].classifications}
	not _is_known(classification)
}

_is_known(classification) if classification in data.dataspine.lexicon.classifications

_is_known(classification) if is_object(data.dataspine.matrix.transfers[classification])
