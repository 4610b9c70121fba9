# What holds for all rules together: each objects to a question, and to nothing at another point.
package dataspine.rules_test

import data.dataspine.lib.fixture_test as fixture

test_every_rule_objects_to_a_question if {
	codes := {code | some question in _questions; some code in _codes(question)}
	codes == {sprintf("%s.%s", [domain, name]) | data.dataspine.rules[domain][name].deny}
}

test_every_question_breaks_rules_of_its_own_point_alone[note] if {
	some note, question in _questions
	count(_codes(question)) > 0
	_codes(_elsewhere(question)) == set()
}

test_a_replay_is_judged_as_its_route_is if {
	_codes(_questions["replay of a broken route"]) == _codes(_broken_route)
}

test_obligations_are_owed_at_their_own_point_alone[note] if {
	some note, question in {"route": fixture.route, "replay": fixture.replay, "row": fixture.row({"country": "DE"})}
	_owed(question) == {"hmac"}
	_owed(_elsewhere(question)) == set()
}

_questions := {
	"schema": json.patch(fixture.schema([_broken_field]), [
		{"op": "add", "path": "/facts/metadata", "value": {}},
		{"op": "add", "path": "/facts/version/claimed", "value": "9.9.9"},
		{"op": "add", "path": "/facts/compatibility/compatible", "value": false},
		{"op": "add", "path": "/facts/previous", "value": {
			"version": "1.0.0",
			"fields": [{"path": "email", "classifications": ["PCI"], "retention": null}],
		}},
	]),
	"longer retention": json.patch(fixture.schema([_kept_longer]), [{
		"op": "add",
		"path": "/facts/previous",
		"value": {
			"version": "1.0.0",
			"fields": [{"path": "id", "classifications": ["PII"], "retention": "P1D"}],
		},
	}]),
	"no retention": fixture.schema([object.union(fixture.field, {"retention": null})]),
	"untagged field": fixture.schema([object.union(fixture.field, {"path": "email", "tokens": ["email"]})]),
	"route": _broken_route,
	"replay of a broken route": object.union(_broken_route, {"point": "dead_letter.replay"}),
	"replay": fixture.changed(fixture.replay, "/facts/actor/local", false),
	"row": fixture.row({"country": "BR"}),
	"promotion": _unfit([]),
	"promotion by its author": _unfit(["ada"]),
	"access": fixture.access,
}

_broken_field := object.union(fixture.field, {
	"path": "email",
	"classifications": ["Public", "Odd"],
	"retention": "long",
	"waiver": {"reason": "", "until": "2020-01-01"},
})

_kept_longer := object.union(fixture.field, {"classifications": ["PII"], "retention": "P9D"})

_broken_route := json.patch(fixture.route, [
	{"op": "add", "path": "/at", "value": "2028-01-01T00:00:00Z"},
	{"op": "add", "path": "/facts/dead_letter/region", "value": "mars-1"},
	{"op": "add", "path": "/facts/sinks/0/masks", "value": {}},
	{"op": "add", "path": "/facts/tables/0/home/column", "value": "email"},
	{"op": "add", "path": "/facts/tables/0/columns", "value": [
		object.union(fixture.column("email", ["PII"]), {
			"key": true,
			"inherited": [{"classification": "PCI", "from": "shop.cards"}],
		}),
		fixture.column("note", ["Unclassified"]),
	]},
])

_unfit(approvers) := json.patch(fixture.promotion, [
	{"op": "add", "path": "/facts/candidate/sequence", "value": 1},
	{"op": "add", "path": "/facts/candidate/key_id", "value": null},
	{"op": "add", "path": "/facts/candidate/tests", "value": null},
	{"op": "add", "path": "/facts/impact/deny_to_allow", "value": 3},
	{"op": "add", "path": "/facts/approvers", "value": approvers},
])

_strict := {
	"rules": {},
	"retention": {"maximum": {"PII": "P1D"}},
	"subjects": {"pattern": "bank"},
	"metadata": {"required": ["domain"]},
}

_elsewhere(question) := object.union(question, {"point": "query.release"})

_codes(question) := codes if {
	codes := {violation.code | some violation in data.dataspine.rules[_][_].deny} with input as question
		with data.dataspine.config as _strict
		with data.dataspine.matrix as fixture.matrix
}

_owed(question) := methods if {
	methods := {owed.method | some owed in data.dataspine.rules[_][_].obligations} with input as question
		with data.dataspine.matrix as fixture.matrix
}
