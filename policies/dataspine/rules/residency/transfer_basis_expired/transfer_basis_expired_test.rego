package dataspine.rules.residency.transfer_basis_expired_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.transfer_basis_expired

test_running_and_undated_bases_pass[note] if {
	some note, homes in {"running": ["EU"], "undated": ["US"], "no entry": ["BR"], "allowed": "allowed"}
	_deny(fixture.changed(fixture.route, "/facts/tables/0/homes", homes)) == set()
}

test_ended_basis_is_denied[point] if {
	some point, question in {"route": fixture.route, "replay": fixture.replay}
	_deny(object.union(question, {"at": "2027-03-31T00:00:00Z"})) == {{
		"code": "residency.transfer_basis_expired",
		"severity": "error",
		"message": "customers.email is PII; the basis SCC to take it from EU to US ended 2027-03-31T00:00:00Z",
		"path": "/facts/sinks/0/region",
		"field": "email",
		"line": 9,
		"remediation": "Renew the basis and its date in the matrix, or stop the transfer.",
		"controls": ["GDPR-44", "GDPR-46"],
	}}
}

test_basis_without_a_date_has_ended if {
	violations := transfer_basis_expired.deny with input as fixture.route
		with data.dataspine.matrix as fixture.changed(fixture.matrix, "/transfers/PII/EU/US/basis", {})
	[violation.message | some violation in violations] == [concat("", [
		"customers.email is PII; the basis without a name to take it from EU to US ended at an unknown time",
	])]
}

_deny(question) := violations if {
	violations := transfer_basis_expired.deny with input as question with data.dataspine.matrix as fixture.matrix
}

test_undefined_input_is_no_question if transfer_basis_expired.deny == set() with input as {}
