package dataspine.rules.residency.obligation_missing_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.obligation_missing

test_fulfilled_obligation_passes if _deny(fixture.route) == set()

test_allowed_homes_deny_nothing if {
	route := fixture.changed(fixture.route, "/facts/tables/0/homes", "allowed")
	_deny(fixture.changed(route, "/facts/sinks/0/masks", {})) == set()
}

test_unfulfilled_obligation_is_denied[note] if {
	some note, masks in {"no mask": {}, "other method": {"customers.email": "null"}, "other table": {"x.email": "hmac"}}
	_deny(fixture.changed(fixture.route, "/facts/sinks/0/masks", masks)) == {{
		"code": "residency.obligation_missing",
		"severity": "error",
		"message": "customers.email owes mask hmac on its way from EU to US",
		"path": "/facts/sinks/0/masks",
		"field": "email",
		"line": 9,
		"remediation": "Add `customers.email: hmac` to the masks of lake.",
		"controls": ["GDPR-32", "GDPR-46"],
	}}
}

test_two_methods_for_one_column_are_never_fulfilled if {
	count(_deny(fixture.changed(fixture.route, "/facts/tables/0/columns/0/classifications", ["PII", "PCI"]))) == 1
}

test_masks_that_the_allow_rests_on_are_obligations if {
	obligation_missing.obligations == {{
		"type": "mask",
		"path": "/facts/sinks/0/masks/customers.email",
		"field": "email",
		"method": "hmac",
	}} with input as fixture.route with data.dataspine.matrix as fixture.matrix
}

test_denied_route_is_told_what_it_owes if {
	unmasked := fixture.changed(fixture.route, "/facts/sinks/0/masks", {})
	obligation_missing.obligations == {{
		"type": "mask",
		"path": "/facts/sinks/0/masks/customers.email",
		"field": "email",
		"method": "hmac",
	}} with input as unmasked with data.dataspine.matrix as fixture.matrix
}

test_unmasked_route_of_allowed_homes_owes_nothing if {
	route := fixture.changed(fixture.route, "/facts/tables/0/homes", "allowed")
	unmasked := fixture.changed(route, "/facts/sinks/0/masks", {})
	obligation_missing.obligations == set() with input as unmasked with data.dataspine.matrix as fixture.matrix
}

test_an_obligation_without_method_is_never_fulfilled if {
	violations := obligation_missing.deny with input as fixture.route
		with data.dataspine.matrix as fixture.changed(fixture.matrix, "/transfers/PII/EU/US/obligations", [{"type": "mask"}])
	[violation.message | some violation in violations] == ["customers.email owes mask  on its way from EU to US"]
}

# That it is not clear for another reason is told by the rule of that reason.
test_homes_that_are_not_clear_owe_nothing_to_what_fulfils_it if {
	ended := object.union(fixture.route, {"at": "2028-01-01T00:00:00Z"})
	obligation_missing.obligations == set() with input as ended with data.dataspine.matrix as fixture.matrix
}

test_tables_of_allowed_homes_owe_their_masks_in_a_denied_route if {
	allowed := object.union(fixture.table, {"name": "people", "homes": "allowed"})
	sink := fixture.changed(fixture.sink, "/masks", {"people.email": "hmac"})
	paths := {owed.path | some owed in obligation_missing.obligations} with data.dataspine.matrix as fixture.matrix
		with input as fixture.route_of([fixture.table, allowed], [sink])
	paths == {"/facts/sinks/0/masks/customers.email", "/facts/sinks/0/masks/people.email"}
}

test_undefined_input_is_no_question if _deny({}) == set()

_deny(question) := violations if {
	violations := obligation_missing.deny with input as question with data.dataspine.matrix as fixture.matrix
}
