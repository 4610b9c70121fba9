package dataspine.rules.residency.home_not_allowed_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.home_not_allowed

test_clear_homes_pass[country] if {
	some country in ["DE", "US"]
	_deny(fixture.row({"country": country})) == set()
}

test_other_rows_park[note] if {
	some note, case in {
		"no entry": [{"country": "BR"}, "BR"],
		"unknown": [{"country": "XX"}, "XX"],
		"lower case": [{"country": "de"}, "de"],
		"null": [{"country": null}, "null"],
		"number": [{"country": 7}, "7"],
		"missing": [{}, "an unknown country"],
	}
	_deny(fixture.row(case[0])) == {_expected(case[1])}
}

test_a_change_to_the_route_parks_the_row[note] if {
	some note, change in {
		"undeclared home": ["/facts/homes", ["US"]],
		"unmasked": ["/facts/sink/masks", {}],
		"unknown region": ["/facts/sink/region", "mars-1"],
		"unclassified column": ["/facts/columns/1/classifications", ["Unclassified"]],
		"column without classification": ["/facts/columns/1/classifications", []],
		"column with null for it": ["/facts/columns/1/classifications", null],
		"basis ended": ["/at", "2027-03-31T00:00:00Z"],
		"constant elsewhere": ["/facts/home", {"constant": "BR"}],
	}
	count(_deny(fixture.changed(fixture.row({"country": "DE"}), change[0], change[1]))) == 1
}

test_constant_home_needs_no_row if {
	_deny(fixture.changed(fixture.row({}), "/facts/home", {"constant": "EU"})) == set()
}

test_masks_of_the_home_are_obligations[country] if {
	some country, expected in {
		"DE": {{"type": "mask", "path": "/facts/sink/masks/customers.email", "field": "email", "method": "hmac"}},
		"US": set(),
		"BR": set(),
	}
	home_not_allowed.obligations == expected with input as fixture.row({"country": country})
		with data.dataspine.matrix as fixture.matrix
}

test_a_constant_home_obliges_as_a_row_s_does if {
	question := fixture.changed(fixture.row({}), "/facts/home", {"constant": "EU"})
	obligations := home_not_allowed.obligations with input as question with data.dataspine.matrix as fixture.matrix
	{obligation.method | some obligation in obligations} == {"hmac"}
}

test_a_parked_row_tells_its_constant_home if {
	question := fixture.changed(fixture.row({}), "/facts/home", {"constant": "BR"})
	_deny(question) == {_expected("BR")}
}

test_undefined_input_is_no_question if _deny({}) == set()

_deny(question) := violations if {
	violations := home_not_allowed.deny with input as question with data.dataspine.matrix as fixture.matrix
}

_expected(home) := {
	"code": "residency.home_not_allowed",
	"severity": "error",
	"message": sprintf("a row of customers at home in %s may not go to lake", [home]),
	"path": "/row",
	"remediation": "The row is parked. Declare its home, mask as obliged, or add the transfer to the matrix; then replay.",
	"controls": ["GDPR-44"],
}
