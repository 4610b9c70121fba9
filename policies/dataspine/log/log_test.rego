package dataspine.log_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.log

_schemas := {
	"schema.publish": {"properties": {"facts": {"type": "object", "required": ["name"]}}},
	"row.replicate": {"properties": {"facts": {"type": "object", "required": ["name"]}}},
}

_event(question) := {"path": "dataspine/main/row_replicate", "input": question, "result": {}}

_masked(event) := masked if {
	masked := log.mask with input as event with data.dataspine.schemas as _schemas
}

test_whole_question_is_logged_whole[note] if {
	some note, question in {
		"schema": fixture.schema([]),
		"row": fixture.row({"country": "DE"}),
		"no row": object.remove(fixture.row({}), ["row"]),
		"null": fixture.row({"country": null}),
		"a guard that is no home": fixture.changed(fixture.row({"region": "x"}), "/facts/guard_columns", ["region"]),
		"first time": object.union(fixture.row({}), {"at": "1970-01-01T00:00:00.000000001Z"}),
	}
	_masked(_event(question)) == set()
}

# The column of the home is a guard, whether or not the question lists it.
test_the_home_of_a_row_is_logged if {
	question := fixture.row({"country": "DE"})
	facts := object.union(question.facts, {"guard_columns": []})
	_masked(_event(object.union(question, {"facts": facts}))) == set()
}

_answer(codes) := {
	"allow": count(codes) == 0,
	"violations": [{"code": code} | some code in codes],
	"obligations": [],
	"policy": {"revision": "1", "sequence": 1},
	"valid_until": null,
}

_nameless := object.union(object.remove(fixture.row({}), ["facts"]), {"facts": {"email": "a"}})

_answered(question, result) := object.union(_event(question), {"result": result})

test_an_answered_question_is_logged_whole[codes] if {
	some codes in [[], ["residency.region_denied"], ["engine.malformed_rule"], ["engine.invalid_data"]]
	_masked(_answered(fixture.row({"country": "DE"}), _answer(codes))) == set()
}

test_a_judgement_is_one_on_a_whole_question if _masked(_answered(_nameless, _answer(["a.b"]))) == set()

test_a_refused_question_is_erased[codes] if {
	some codes in [["engine.invalid_input"], ["a.b", "engine.invalid_input"], ["engine.invalid_data"]]
	_masked(_answered(_nameless, _answer(codes))) == {"/input"}
}

test_no_other_answer_vouches_for_a_question[note] if {
	some note, result in {
		"empty": {},
		"null": null,
		"boolean": true,
		"array": [_answer([])],
		"less": object.remove(_answer([]), ["policy"]),
		"more": object.union(_answer([]), {"x": 1}),
		"object": object.union(_answer([]), {"violations": {}}),
		"no code": object.union(_answer([]), {"violations": [{"severity": "error"}]}),
		"odd code": object.union(_answer([]), {"violations": [{"code": 7}]}),
		"no violation": object.union(_answer([]), {"violations": [7]}),
	}
	_masked(_answered(_nameless, result)) == {"/input"}
}

test_an_answer_vouches_for_its_own_point[path] if {
	some path in ["dataspine/main/schema_publish", "dataspine/main", "dataspine/main/row_replicate_filter", 7]
	"/input" in _masked(object.union(_answered(_nameless, _answer([])), {"path": path}))
}

test_an_answer_without_schemas_vouches_for_nothing if {
	event := _answered(fixture.row({"country": "DE"}), _answer([]))
	masked := log.mask with input as event with data.dataspine.schemas as {}
	masked == {"/input"}
}

test_an_answer_does_not_vouch_for_what_stands_beside[note] if {
	some note, question in {
		"more": object.union(fixture.row({}), {"record": {"email": "a"}}),
		"odd time": object.union(fixture.row({}), {"at": "now"}),
		"no point": object.remove(fixture.row({}), ["point"]),
	}
	_masked(_answered(question, _answer([]))) == {"/input"}
}

test_a_row_with_more_than_guard_columns_is_erased[note] if {
	some note, row in {
		"stranger": {"country": "DE", "email": "a"},
		"array": ["a"],
		"text": "a",
		"null": null,
		"nested": {"country": {"email": "a"}},
		"list": {"country": ["a"]},
		"empty list": [],
	}
	_masked(_event(fixture.row(row))) == {"/input/row"}
}

test_what_is_no_question_is_erased[note] if {
	some note, question in {
		"empty": {},
		"null": null,
		"text": "a",
		"number": 7,
		"array": [{"email": "a"}],
		"more": object.union(fixture.schema([]), {"record": {"email": "a"}}),
		"no time": object.remove(fixture.schema([]), ["at"]),
		"no time yet": object.union(fixture.schema([]), {"at": "1970-01-01T00:00:00Z"}),
		"no facts": object.remove(fixture.schema([]), ["facts"]),
		"odd point": object.union(fixture.schema([]), {"point": ["schema.publish"]}),
		"unknown point": object.union(fixture.schema([]), {"point": "a.b"}),
	}
	"/input" in _masked(_event(question))
}

test_an_event_of_another_path_loses_input_and_result[note] if {
	some note, event in {
		"no input": {"path": "dataspine/lib/decision"},
		"no path": {"query": "data.x", "result": {"email": "a"}},
		"odd path": {"path": 7},
		"empty": {},
	}
	{"/input", "/result"} - _masked(event) == set()
}

test_recorded_calls_are_erased if {
	event := object.union(_event(fixture.schema([])), {"nd_builtin_cache": {"http.send": {}}})
	_masked(event) == {"/nd_builtin_cache"}
}

test_without_schemas_nothing_of_the_input_is_logged if {
	masked := log.mask with input as _event(fixture.schema([])) with data.dataspine.schemas as {}
	masked == {"/input"}
}

test_only_looks_at_the_system_are_dropped[path] if {
	some path, expected in {
		"system/bundles/main": true,
		"dataspine/main/row_replicate": false,
		"systems/x": false,
		"": false,
	}
	log.drop == expected with input as {"path": path}
}

test_odd_events_are_not_dropped[note] if {
	some note, event in {"empty": {}, "null": null, "number": {"path": 7}, "query": {"query": "data.system/"}}
	log.drop == false with input as event
}
