# How answers are collected, from stand-ins for rules and schemas: what each rule objects to is tested beside it.
package dataspine.lib.decision_test

import data.dataspine.lib.decision
import data.dataspine.lib.fixture_test as fixture

_schema := {
	"type": "object",
	"required": ["point", "at", "facts"],
	"properties": {"facts": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
}

_schemas[point] := _schema if some point in ["shop.sell", "dead_letter.replay", "route.deploy", "row.replicate"]

_facts := {"name": "shop.customers", "guard_columns": ["region"], "home": {"column": "country"}}

_question := {"point": "shop.sell", "at": fixture.at, "facts": _facts}

_bundle := {"manifest": {"revision": "1.4.0", "roots": ["dataspine"], "metadata": {"sequence": 41}}}

_violation(code, severity) := {
	"code": code,
	"severity": severity,
	"message": "odd",
	"path": "/facts",
	"remediation": "Be even.",
	"controls": [],
}

_obligation := {"type": "mask", "method": "hmac"}

_passing := {
	"allow": true,
	"violations": [],
	"obligations": [],
	"policy": {"revision": "1.4.0", "sequence": 41},
	"valid_until": null,
}

_malformed := {
	"code": "engine.malformed_rule",
	"severity": "error",
	"message": "the custom rule shop.odd does not answer with a set of whole violations",
	"path": "",
	"remediation": "Let `deny` contain result.violation(rego.metadata.chain(), {...}), and state no obligations.",
	"controls": [],
}

test_nothing_to_object_to_is_allowed[note] if {
	some note, rules in {"no rules": {}, "silent rules": {"shop": {"odd": {"deny": set(), "obligations": set()}}}}
	_asked(_question, {"rules": rules, "custom": rules}) == _passing
}

test_rules_and_custom_rules_are_collected if {
	rules := {
		"shop": {
			"odd": {"deny": {_violation("shop.odd", "warn")}, "obligations": {_obligation}},
			"even": {"deny": {_violation("shop.even", "error")}, "obligations": {{"type": "keep", "method": "x"}}},
		},
		"bank": {"odd": {"deny": {_violation("bank.odd", "warn")}}},
	}
	answer := _asked(_question, {"rules": rules, "custom": {"own": {"odd": {"deny": {_violation("own.odd", "warn")}}}}})
	answer == object.union(_passing, {
		"allow": false,
		"violations": [
			_violation("bank.odd", "warn"),
			_violation("own.odd", "warn"),
			_violation("shop.even", "error"),
			_violation("shop.odd", "warn"),
		],
		"obligations": [_obligation, {"type": "keep", "method": "x"}],
	})
}

test_only_a_warning_lets_pass[severity] if {
	some severity, allow in {"error": false, "warn": true, "high": false}
	every kind in ["rules", "custom"] {
		given := {kind: {"shop": {"odd": {"deny": {_violation("shop.odd", severity)}}}}}
		_asked(_question, given) == object.union(_passing, {
			"allow": allow,
			"violations": [_violation("shop.odd", severity)],
		})
	}
}

test_severities_are_configured[note] if {
	some note, case in {
		"code": [{"shop.odd": "warn", "shop": "ignore"}, ["warn"]],
		"domain": [{"shop": "warn"}, ["warn"]],
		"ignored": [{"shop": "ignore"}, []],
		"another": [{"bank": "ignore"}, ["error"]],
	}
	every kind in ["rules", "custom"] {
		rules := {"shop": {"odd": {"deny": {_violation("shop.odd", "error")}}}}
		answer := _asked(_question, {kind: rules, "config": {"rules": case[0]}})
		[violation.severity | some violation in answer.violations] == case[1]
	}
}

test_an_exception_warns_until_it_ends if {
	exception := fixture.exception("shop.odd")
	given := {"rules": {"shop": {"odd": {"deny": {_violation("shop.odd", "error")}}}}, "exceptions": [exception]}
	_asked(_question, given) == object.union(_passing, {
		"violations": [object.union(_violation("shop.odd", "warn"), {"exception": exception})],
		"valid_until": "2027-01-31T00:00:00Z",
	})
	_asked(object.union(_question, {"at": "2027-01-31T00:00:00Z"}), given) == object.union(_passing, {
		"allow": false,
		"violations": [_violation("shop.odd", "error")],
	})
	_asked(fixture.changed(_question, "/facts/name", "bank.customers"), given).allow == false
}

test_malformed_custom_rules_deny[note] if {
	some note, rule in {
		"array": {"deny": ["x"]},
		"object": {"deny": {}},
		"true": {"deny": true},
		"text": {"deny": {"x"}},
		"code of another fault": {"deny": {_violation("shop.even", "warn")}},
		"code of another domain": {"deny": {_violation("bank.odd", "warn")}},
		"no severity": {"deny": {object.remove(_violation("shop.odd", "warn"), ["severity"])}},
		"no message": {"deny": {object.union(_violation("shop.odd", "warn"), {"message": null})}},
		"no path": {"deny": {object.remove(_violation("shop.odd", "warn"), ["path"])}},
		"no remediation": {"deny": {object.union(_violation("shop.odd", "warn"), {"remediation": 7})}},
		"no controls": {"deny": {object.union(_violation("shop.odd", "warn"), {"controls": "GDPR-5"})}},
		"obligations": {"deny": set(), "obligations": {_obligation}},
		"obligations alone": {"obligations": {_obligation}},
	}

	# Neither configuration nor an exception can silence it.
	_asked(_question, {
		"custom": {"shop": {"odd": rule}},
		"config": {"rules": {"engine": "ignore", "engine.malformed_rule": "ignore", "shop": "ignore"}},
		"exceptions": [object.union(fixture.exception("engine.malformed_rule"), {"effective-until": "2020-01-01T00:00:00Z"})],
	}) == object.union(_passing, {"allow": false, "violations": [_malformed]})
}

test_the_answer_holds_until_the_next_boundary[note] if {
	some note, case in {
		"none": [[], null, "shop.sell", null],
		"past": [["2020-01-01T00:00:00Z", fixture.at], null, "shop.sell", null],
		"next": [["2028-01-01T00:00:00Z", "2027-01-01T00:00:00Z"], null, "shop.sell", "2027-01-01T00:00:00Z"],
		"waiver": [["2028-01-01T00:00:00Z"], "2026-12-01", "shop.sell", "2026-12-01T00:00:00Z"],
		"basis of a replay": [[], null, "dead_letter.replay", "2027-03-31T00:00:00Z"],
		"basis of a route": [[], null, "route.deploy", "2027-03-31T00:00:00Z"],
		"basis of a row": [[], null, "row.replicate", "2027-03-31T00:00:00Z"],
	}
	facts := object.union(_facts, {"fields": [{"waiver": {"until": case[1]}}]})
	given := {"exceptions": [_dated(until) | some until in case[0]]}
	answer := _asked(object.union(_question, {"point": case[2], "facts": facts}), given)
	answer == object.union(_passing, {"valid_until": case[3]})
}

_dated(until) := object.union(fixture.exception("shop.odd"), {"effective-until": until})

test_the_bundle_says_which_one_it_is[note] if {
	some note, case in {
		"none": [{}, {"revision": "unbundled", "sequence": 0}],
		"another": [{"x": {"manifest": {"revision": "9", "roots": ["other"]}}}, {"revision": "unbundled", "sequence": 0}],
		"ours": [
			{"x": {"manifest": {"revision": "9", "roots": ["other"]}}, "main": _bundle},
			{"revision": "1.4.0", "sequence": 41},
		],
		"without sequence": [
			{"main": {"manifest": {"revision": "9", "roots": ["dataspine"]}}},
			{"revision": "9", "sequence": 0},
		],
	}
	_asked(_question, {"bundles": case[0]}) == object.union(_passing, {"policy": case[1]})
}

test_time_begins_in_1970 if {
	_asked(object.union(_question, {"at": "1970-01-01T00:00:00.000000001Z"}), {}) == _passing
}

test_guard_columns_may_stand_in_a_row if {
	_asked(object.union(_question, {"row": {"region": "x", "country": "DE"}}), {}) == _passing
}

test_what_is_no_question_has_no_answer[note] if {
	some note, question in {
		"empty": {},
		"no point": object.remove(_question, ["point"]),
		"unknown point": object.union(_question, {"point": "shop.buy"}),
		"schema": fixture.changed(_question, "/facts/name", 7),
		"no time": object.union(_question, {"at": "now"}),
		"before all time": object.union(_question, {"at": "1970-01-01T00:00:00Z"}),
		"stranger": object.union(_question, {"row": {"country": "DE", "email": "a@b.example"}}),
	}
	_asked(question, {}) == "undefined"
}

test_data_that_is_not_whole_gives_no_answer if {
	_asked(_question, {"config": {}}) == "undefined"
}

_question_of_filter(question, config) if {
	decision.is_filter_question with input as question
		with data.dataspine.schemas as _schemas
		with data.dataspine.config as config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
}

test_a_filter_needs_all_but_the_row[note] if {
	some note, case in {
		"whole": [_question, fixture.config, true],
		"first time": [object.union(_question, {"at": "1970-01-01T00:00:00.000000001Z"}), fixture.config, true],
		"facts": [fixture.changed(_question, "/facts/name", 7), fixture.config, false],
		"no time": [object.union(_question, {"at": "now"}), fixture.config, false],
		"before all time": [object.union(_question, {"at": "1970-01-01T00:00:00Z"}), fixture.config, false],
		"data": [_question, {}, false],
	}
	count({true | _question_of_filter(case[0], case[1])}) == count({true | case[2]; case[2] == true})
}

_invalid(code, message, remediation) := object.union(_passing, {"allow": false, "violations": [{
	"code": code,
	"severity": "error",
	"message": message,
	"path": "",
	"remediation": remediation,
	"controls": [],
}]})

test_a_refusal_says_what_is_no_question[note] if {
	some note, case in {
		"empty": [{}, "(Root): at is required; (Root): facts is required; (Root): point is required"],
		"name": [fixture.changed(_question, "/facts/name", 7), "facts.name: Invalid type. Expected: string, given: integer"],
		"stranger": [object.union(_question, {"row": {"email": "a"}}), "row: email is no guard column"],
		"strangers": [
			object.union(_question, {"row": {"d": 1, "c": 1, "b": 1, "a": 1, "country": "DE"}}),
			"row: a is no guard column; row: b is no guard column; row: c is no guard column",
		],
		"time": [object.union(_question, {"at": "now"}), "point, time or facts are missing"],
	}
	refused := decision.refusal("shop.sell") with input as case[0]
		with data.dataspine.schemas as _schemas
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as {"main": _bundle}
	refused == _invalid(
		"engine.invalid_input",
		sprintf("the input is not a question for shop.sell: %s", [case[1]]),
		"Send the point, the time and the facts that the input schema of the point asks for.",
	)
}

test_an_undefined_input_is_refused_as_an_empty_one if {
	refused := decision.refusal("shop.sell") with data.dataspine.schemas as _schemas
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as {"main": _bundle}
	refused == _invalid(
		"engine.invalid_input",
		concat("", [
			"the input is not a question for shop.sell: ",
			"(Root): at is required; (Root): facts is required; (Root): point is required",
		]),
		"Send the point, the time and the facts that the input schema of the point asks for.",
	)
}

test_a_refusal_says_which_data_is_not_whole if {
	refused := decision.refusal("shop.sell") with input as _question
		with data.dataspine.schemas as _schemas
		with data.dataspine.config as {"rules": {}, "odd": {}}
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as {"main": _bundle}
	refused == _invalid(
		"engine.invalid_data",
		concat("", [
			"the bundle's data is not whole: config needs `rules`, each of them error, warn or ignore, ",
			"and only whole sections; config: `odd` is not whole, or nothing that rules read",
		]),
		"Correct the configuration, exceptions or matrix of the workspace and build the bundle again.",
	)
}

# What `given` does not name is empty and whole.
_asked(question, given) := answer if {
	answers := [found | found := decision.answer] with input as question
		with data.dataspine.schemas as _schemas
		with data.dataspine.rules as object.get(given, "rules", {})
		with data.dataspine.custom as object.get(given, "custom", {})
		with data.dataspine.config as object.get(given, "config", fixture.config)
		with data.dataspine.exceptions as object.get(given, "exceptions", [])
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as object.get(given, "bundles", {"main": _bundle})
	answer := array.concat(answers, ["undefined"])[0]
}
