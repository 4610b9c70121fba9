package dataspine.rules.residency.unclassified_column_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.unclassified_column

test_classified_columns_pass if unclassified_column.deny == set() with input as fixture.route

test_column_without_field_is_denied if {
	table := object.union(fixture.table, {"columns": [fixture.column("shoe_size", ["Unclassified"])]})
	unclassified_column.deny == {{
		"code": "residency.unclassified_column",
		"severity": "error",
		"message": "customers.shoe_size has no field in a registered schema",
		"path": "/facts/tables/0/columns/0",
		"field": "shoe_size",
		"line": 7,
		"remediation": "Publish a version of the table's subject with shoe_size, or leave the column out of the publication.",
		"controls": ["GDPR-30"],
	}} with input as fixture.route_of([table], [fixture.sink])
}

test_undefined_input_is_no_question if unclassified_column.deny == set() with input as {}
