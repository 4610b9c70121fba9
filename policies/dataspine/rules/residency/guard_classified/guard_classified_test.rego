package dataspine.rules.residency.guard_classified_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.guard_classified

test_public_guard_passes if guard_classified.deny == set() with input as fixture.route

test_constant_home_needs_no_guard if {
	table := json.patch(fixture.table, [
		{"op": "replace", "path": "/home", "value": {"constant": "EU"}},
		{"op": "replace", "path": "/guard_columns", "value": []},
	])
	guard_classified.deny == set() with input as fixture.route_of([table], [fixture.sink])
}

test_classified_guard_is_denied[note] if {
	some note, case in {
		"personal": ["email", "PII", ["email"]],
		"unknown": ["shoe_size", "unknown", ["shoe_size"]],
	}
	guard_classified.deny == {{
		"code": "residency.guard_classified",
		"severity": "error",
		"message": sprintf("customers.%s decides where rows go and is not only Public (%s)", [case[0], case[1]]),
		"path": "/facts/tables/0/guard_columns",
		"field": case[0],
		"line": 5,
		"remediation": "Guard by a Public column, such as a country code, or use a constant home.",
		"controls": ["GDPR-25"],
	}} with input as fixture.changed(fixture.route, "/facts/tables/0/guard_columns", case[2])
}

test_home_column_is_a_guard_column if {
	table := object.union(fixture.table, {"home": {"column": "email"}, "guard_columns": []})
	count(guard_classified.deny) == 1 with input as fixture.route_of([table], [fixture.sink])
}

test_undefined_input_is_no_question if guard_classified.deny == set() with input as {}
