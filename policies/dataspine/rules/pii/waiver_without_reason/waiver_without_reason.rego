# METADATA
# title: A waiver gives its reason
# description: A waiver is a claim that a field is not personal. Without a reason nobody can check the claim.
# labels:
#   controls: [GDPR-5.2]
# custom:
#   severity: error
#   message: "{field} is waived without a reason"
#   remediation: "Write why {field} is not personal, as in [not-pii: <why>], or remove the waiver."
package dataspine.rules.pii.waiver_without_reason

import data.dataspine.lib.result

# METADATA
# description: One violation per waiver whose reason is missing, blank or no text.
deny contains violation if {
	input.point == "schema.publish"
	some i, field in input.facts.fields
	is_object(field.waiver)
	not _has_reason(field.waiver)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/fields/%d/waiver", [i]),
		"field": field.path,
		"line": field.line,
	})
}

_has_reason(waiver) if trim_space(waiver.reason) != ""
