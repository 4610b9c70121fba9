package dataspine.lib.bundle_data_test

import data.dataspine.lib.bundle_data
import data.dataspine.lib.fixture_test as fixture

_config := "config needs `rules`, each of them error, warn or ignore, and only whole sections"

_exceptions := "exceptions need a list, each with rule, applies-to, reason, approved-by, effective-until"

_matrix := "matrix needs `geographies` and `transfers`, and only whole entries"

_section(key) := sprintf("config: `%s` is not whole, or nothing that rules read", [key])

_twice(place) := sprintf("matrix: %s belongs to more than one geography", [place])

test_missing_data_is_not_whole if {
	not bundle_data.is_whole
	bundle_data.faults == {_config, _exceptions, _matrix}
}

test_a_manifest_states_what_was_found[note] if {
	some note, case in {
		"stated": [{"roots": ["dataspine"], "metadata": {"data-is-whole": true}}, true],
		"false": [{"roots": ["dataspine"], "metadata": {"data-is-whole": false}}, false],
		"text": [{"roots": ["dataspine"], "metadata": {"data-is-whole": "true"}}, false],
		"nothing": [{"roots": ["dataspine"], "metadata": {}}, false],
		"another bundle": [{"roots": ["dataspine2"], "metadata": {"data-is-whole": true}}, false],
	}
	found := count({true | bundle_data.is_whole}) == 1 with data.system.bundles as {"b": {"manifest": case[0]}}
	found == case[1]
}

test_what_is_stated_is_not_what_is_found if {
	manifest := {"roots": ["dataspine"], "metadata": {"data-is-whole": true}}
	not bundle_data.is_found_whole with data.system.bundles as {"b": {"manifest": manifest}}
}

test_configuration_is_whole_or_told[note] if {
	some note, case in {
		"every severity": [{"rules": {"pii": "error", "pii.x": "warn", "shop": "ignore"}}, set()],
		"sections": [{"rules": {}, "subjects": {"pattern": "a"}, "metadata": {"required": ["owner"]}}, set()],
		"another severity": [{"rules": {"shop": "warn", "pii": "high"}}, {_config}],
		"unknown section": [{"rules": {}, "rule": {}}, {_config, _section("rule")}],
		"section": [
			{"rules": {}, "metadata": {"required": []}, "subjects": {}, "access": null},
			{_config, _section("subjects"), _section("access")},
		],
		"rules type": [{"rules": []}, {_config}],
		"no rules": [{}, {_config}],
		"none": [null, {_config}],
	}
	_judged(case[0], [], fixture.matrix) == [count(case[1]) == 0, case[1]]
}

test_exceptions_are_whole_or_told[note] if {
	exception := fixture.exception("pii.x")
	some note, case in {
		"whole": [[exception, fixture.exception("shop")], true],
		"object": [{}, false],
		"object of whole ones": [{"a": exception}, false],
		"null": [null, false],
		"no object": [["pii.x"], false],
		"second": [[exception, {}], false],
		"more": [[object.union(exception, {"note": "x"})], false],
		"less": [[object.remove(exception, ["approved-by"])], false],
		"blank": [[object.union(exception, {"reason": " "})], false],
		"number": [[object.union(exception, {"rule": 7})], false],
		"no date": [[object.union(exception, {"effective-until": "later"})], false],
		"no date yet": [[object.union(exception, {"effective-until": "1970-01-01T00:00:00Z"})], false],
		"first date": [[object.union(exception, {"effective-until": "1970-01-01T00:00:00.000000001Z"})], true],
	}
	_judged(fixture.config, case[0], fixture.matrix) == [case[1], {_exceptions | not case[1]}]
}

test_a_matrix_is_whole[note] if {
	some note, matrix in {
		"fixture": fixture.matrix,
		"version": object.union(fixture.matrix, {"version": "1.0.0"}),
		"no transfers": object.union(object.remove(fixture.matrix, ["transfers"]), {"transfers": {}}),
		"nothing": {"geographies": {}, "transfers": {}},
		"no countries": fixture.changed(fixture.matrix, "/geographies/BR", {"countries": [], "regions": []}),
		"basis alone": _entry({"allow": true, "basis": {"name": "SCC", "until": "2027-03-31T00:00:00Z"}}),
		"first date": _entry({"allow": true, "basis": {"name": "x", "until": "1970-01-01T00:00:00.000000001Z"}}),
		"more lists": json.patch(fixture.matrix, [
			{"op": "add", "path": "/geographies/EU/languages", "value": ["en"]},
			{"op": "add", "path": "/geographies/US/languages", "value": ["en"]},
		]),
		"obligations alone": _entry({"allow": false, "obligations": [{"type": "mask", "method": "x"}]}),
	}
	_judged(fixture.config, [], matrix) == [true, set()]
}

test_another_matrix_is_not[note] if {
	some note, matrix in {
		"null": null,
		"empty": {},
		"more": object.union(fixture.matrix, {"transfer": {}}),
		"no geographies": object.remove(fixture.matrix, ["geographies"]),
		"geographies null": fixture.changed(fixture.matrix, "/geographies", null),
		"geographies list": {"geographies": [{"countries": ["DE"], "regions": []}], "transfers": {}},
		"no countries": fixture.changed(fixture.matrix, "/geographies/BR", {"regions": []}),
		"no regions": fixture.changed(fixture.matrix, "/geographies/BR", {"countries": []}),
		"countries object": fixture.changed(fixture.matrix, "/geographies/BR/countries", {}),
		"countries text": fixture.changed(fixture.matrix, "/geographies/BR/countries", "BR"),
		"country number": fixture.changed(fixture.matrix, "/geographies/BR/countries", [7]),
		"region null": fixture.changed(fixture.matrix, "/geographies/BR/regions", [null]),
		"country twice in one": fixture.changed(fixture.matrix, "/geographies/BR/countries", ["BR", "BR"]),
		"transfers list": fixture.changed(fixture.matrix, "/transfers", []),
		"transfers null": fixture.changed(fixture.matrix, "/transfers", null),
		"homes list": fixture.changed(fixture.matrix, "/transfers/PII", []),
		"homes null": fixture.changed(fixture.matrix, "/transfers/PII", null),
		"targets list": fixture.changed(fixture.matrix, "/transfers/PII/EU", []),
		"targets text": fixture.changed(fixture.matrix, "/transfers/PII/EU", "US"),
		"entry null": _entry(null),
		"entry empty": _entry({}),
		"entry more": _entry({"allow": true, "base": {}}),
		"allow text": _entry({"allow": "yes"}),
		"allow null": _entry({"allow": null}),
		"basis false": _entry({"allow": true, "basis": false}),
		"basis empty": _entry({"allow": true, "basis": {}}),
		"basis more": _entry({"allow": true, "basis": {"name": "x", "until": "2027-03-31T00:00:00Z", "y": 1}}),
		"basis blank": _entry({"allow": true, "basis": {"name": " ", "until": "2027-03-31T00:00:00Z"}}),
		"basis number": _entry({"allow": true, "basis": {"name": 7, "until": "2027-03-31T00:00:00Z"}}),
		"basis without date": _entry({"allow": true, "basis": {"name": "x", "until": "later"}}),
		"basis with no date yet": _entry({"allow": true, "basis": {"name": "x", "until": "1970-01-01T00:00:00Z"}}),
		"basis with a number": _entry({"allow": true, "basis": {"name": "x", "until": 7}}),
		"obligations object": _entry({"allow": true, "obligations": {}}),
		"obligations null": _entry({"allow": true, "obligations": null}),
		"obligation null": _entry({"allow": true, "obligations": [null]}),
		"obligation less": _entry({"allow": true, "obligations": [{"type": "mask"}]}),
		"obligation more": _entry({"allow": true, "obligations": [{"type": "mask", "method": "x", "with": "y"}]}),
		"obligation without type": _entry({"allow": true, "obligations": [{"type": " ", "method": "x"}]}),
		"obligation without method": _entry({"allow": true, "obligations": [{"type": "mask", "method": ""}]}),
	}
	_judged(fixture.config, [], matrix) == [false, {_matrix}]
}

test_a_place_that_is_in_two_geographies_is_named[note] if {
	some note, case in {
		"country": ["/geographies/US/countries", ["US", "DE"], "DE"],
		"region": ["/geographies/US/regions", ["eu-west-1"], "eu-west-1"],
	}
	matrix := fixture.changed(fixture.matrix, case[0], case[1])
	_judged(fixture.config, [], matrix) == [false, {_matrix, _twice(case[2])}]
}

_entry(entry) := fixture.changed(fixture.matrix, "/transfers/PII/EU/US", entry)

_judged(config, exceptions, matrix) := answer if {
	answer := [count({true | bundle_data.is_whole}) == 1, bundle_data.faults] with data.dataspine.config as config
		with data.dataspine.exceptions as exceptions
		with data.dataspine.matrix as matrix
}
