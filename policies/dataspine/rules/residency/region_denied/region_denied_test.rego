package dataspine.rules.residency.region_denied_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.region_denied

test_allowed_transfer_passes if _deny(fixture.route) == set()

test_allowed_homes_deny_nothing if _deny(fixture.changed(fixture.route, "/facts/tables/0/homes", "allowed")) == set()

test_denied_transfer_is_named[note] if {
	some note, case in {
		"no entry": {"home": "BR", "at": fixture.at},
		"unknown home": {"home": "??", "at": fixture.at},
	}
	route := object.union(
		fixture.changed(fixture.route, "/facts/tables/0/homes", [case.home]),
		{"at": case.at},
	)
	_expected(case.home) in _deny(route)
}

test_unknown_region_does_not_silence_the_rule if {
	count(_deny(fixture.changed(fixture.route, "/facts/sinks/0/region", "mars-1"))) == 2
}

test_unclassified_has_no_entry if {
	count(_deny(fixture.changed(fixture.route, "/facts/tables/0/columns/1/classifications", ["Unclassified"]))) == 1
}

test_undefined_input_is_no_question if _deny({}) == set()

_deny(question) := violations if {
	violations := region_denied.deny with input as question with data.dataspine.matrix as fixture.matrix
}

_expected(home) := {
	"code": "residency.region_denied",
	"severity": "error",
	"message": sprintf("customers.email is PII and may not go from %s to US", [home]),
	"path": "/facts/sinks/0/region",
	"field": "email",
	"line": 9,
	"remediation": "Drop customers.email, choose another sink, or add the transfer with its basis to the matrix.",
	"controls": ["GDPR-44"],
}
