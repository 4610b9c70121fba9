package dataspine.rules.pii.waiver_without_reason_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.pii.waiver_without_reason

test_reasons_pass[note] if {
	some note, waiver in {"none": null, "reason": {"reason": "a shop, not a person"}}
	waiver_without_reason.deny == set() with input as _waived(waiver)
}

test_waiver_without_reason_is_denied[note] if {
	some note, waiver in {"missing": {}, "null": {"reason": null}, "blank": {"reason": " "}}
	waiver_without_reason.deny == {{
		"code": "pii.waiver_without_reason",
		"severity": "error",
		"message": "id is waived without a reason",
		"path": "/facts/fields/0/waiver",
		"field": "id",
		"line": 4,
		"remediation": "Write why id is not personal, as in [not-pii: <why>], or remove the waiver.",
		"controls": ["GDPR-5.2"],
	}} with input as _waived(waiver)
}

test_undefined_input_is_no_question if waiver_without_reason.deny == set() with input as {}

_waived(waiver) := fixture.schema([json.patch(
	fixture.field,
	[{"op": "replace", "path": "/waiver", "value": waiver}],
)])
