package dataspine.lib.exceptions_test

import data.dataspine.lib.exceptions
import data.dataspine.lib.fixture_test as fixture

_exception := fixture.exception("pii.odd")

_violation := {"code": "pii.odd", "severity": "error", "path": "/x"}

test_an_exception_runs_for_its_code_its_names_and_its_time[note] if {
	some note, case in {
		"running": ["pii.odd", "shop.customers", fixture.at, true],
		"last second": ["pii.odd", "shop.customers", "2027-01-30T23:59:59Z", true],
		"over": ["pii.odd", "shop.customers", "2027-01-31T00:00:00Z", false],
		"another code": ["pii.even", "shop.customers", fixture.at, false],
		"another name": ["pii.odd", "bank.customers", fixture.at, false],
		"a longer name": ["pii.odd", "shop.eu.customers", fixture.at, false],
		"no time": ["pii.odd", "shop.customers", "now", false],
	}
	running := exceptions.running(case[0], case[1], case[2]) with data.dataspine.exceptions as [_exception]
	running == [_exception | case[3]]
}

test_the_first_of_a_file_is_named if {
	second := object.union(_exception, {"reason": "second"})
	applied := exceptions.apply(_violation, "shop.customers", fixture.at)
		with data.dataspine.exceptions as [fixture.exception("pii.even"), _exception, second]
	applied == {"code": "pii.odd", "severity": "warn", "path": "/x", "exception": _exception}
}

test_without_one_a_violation_stays_as_it_is if {
	applied := exceptions.apply(_violation, "bank.customers", fixture.at) with data.dataspine.exceptions as [_exception]
	applied == _violation
}

test_each_end_is_a_boundary if {
	exceptions.boundaries == {0, 1801353600000000000} with data.dataspine.exceptions as [
		_exception,
		{"effective-until": "1970-01-01T00:00:00Z"},
	]
}
