package dataspine.rules.pii.waiver_expired_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.pii.waiver_expired

test_running_waivers_pass[note] if {
	some note, waiver in {
		"none": null,
		"no end": {"reason": "x", "until": null},
		"tomorrow": {"reason": "x", "until": "2026-11-25"},
	}
	waiver_expired.deny == set() with input as _waived(waiver)
}

test_ended_waiver_is_denied[until] if {
	some until in ["2026-11-24", "2020-01-01", "soon", "2027-13-40", ""]
	waiver_expired.deny == {_expected(until)} with input as _waived({"reason": "x", "until": until})
}

test_waiver_of_another_shape_is_denied[note] if {
	some note, case in {"number": [{"reason": "x", "until": 7}, "7"], "missing": [{"reason": "x"}, ""]}
	waiver_expired.deny == {_expected(case[1])} with input as _waived(case[0])
}

_waived(waiver) := fixture.schema([json.patch(
	fixture.field,
	[{"op": "replace", "path": "/waiver", "value": waiver}],
)])

_expected(until) := {
	"code": "pii.waiver_expired",
	"severity": "error",
	"message": sprintf("the waiver of id ended: until %s", [until]),
	"path": "/facts/fields/0/waiver",
	"field": "id",
	"line": 4,
	"remediation": "Tag id, or renew the waiver with a date to come, as in [not-pii: <why>; until 2027-06-30].",
	"controls": ["GDPR-5.2"],
}

test_undefined_input_is_no_question if waiver_expired.deny == set() with input as {}
