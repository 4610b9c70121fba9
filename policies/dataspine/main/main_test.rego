package dataspine.main_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.main

_manifest := {"revision": "1.4.0+sha256.9f2c", "roots": ["dataspine"], "metadata": {"sequence": 41}}

test_whole_answers if {
	_route(fixture.route) == {
		"allow": true,
		"violations": [],
		"obligations": [{
			"type": "mask",
			"path": "/facts/sinks/0/masks/customers.email",
			"field": "email",
			"method": "hmac",
		}],
		"policy": {"revision": "1.4.0+sha256.9f2c", "sequence": 41},
		"valid_until": "2027-03-31T00:00:00Z",
	}
	_schema(fixture.schema([fixture.field]), fixture.config, []).allow
	_row(fixture.row({"country": "DE"})).allow
	not _row(fixture.row({"country": "BR"})).allow
}

test_a_warning_allows if {
	answer := _schema(fixture.changed(fixture.schema([]), "/facts/metadata", {}), fixture.config, [])
	answer.allow
	[violation.code | some violation in answer.violations] == ["contract.owner_missing"]
}

test_severity_is_configured_by_code_before_domain[note] if {
	some note, case in {
		"code": [{"contract.owner_missing": "error", "contract": "ignore"}, ["error"], false],
		"domain": [{"contract": "error"}, ["error"], false],
		"ignored": [{"contract": "ignore"}, [], true],
	}
	question := fixture.changed(fixture.schema([]), "/facts/metadata", {})
	answer := _schema(question, {"rules": case[0]}, [])
	[violation.severity | some violation in answer.violations] == case[1]
	answer.allow == case[2]
}

test_a_running_exception_warns_and_dates_the_answer if {
	exception := fixture.exception("contract.owner_missing")
	question := fixture.changed(fixture.schema([]), "/facts/metadata", {})
	strict := {"rules": {"contract": "error"}}
	running := _schema(question, strict, [exception])
	running.allow
	running.violations[0].exception == exception
	running.valid_until == "2027-01-31T00:00:00Z"
	ended := _schema(object.union(question, {"at": "2027-01-31T00:00:00Z"}), strict, [exception])
	not ended.allow
	not _schema(fixture.changed(question, "/facts/name", "other.customers"), strict, [exception]).allow
}

test_no_question_is_refused[note] if {
	some note, question in {
		"empty": {},
		"null": null,
		"text": "x",
		"other point": fixture.schema([]),
		"no name": json.patch(fixture.route, [{"op": "remove", "path": "/facts/name"}]),
		"unknown fact": fixture.changed(fixture.route, "/facts/extra", 1),
		"no time": fixture.changed(fixture.route, "/at", "now"),
	}
	answer := _route(question)
	not answer.allow
	[violation.code | some violation in answer.violations] == ["engine.invalid_input"]
	answer.valid_until == null
}

_points := {"schema.publish", "route.deploy", "row.replicate", "dead_letter.replay", "bundle.promote", "api.access"}

_answers := [
	main.schema_publish,
	main.route_deploy,
	main.row_replicate,
	main.dead_letter_replay,
	main.bundle_promote,
	main.api_access,
]

# Undefined is not the same as empty: an input that nobody sent has no keys to be missing.
test_an_undefined_input_is_refused_everywhere if {
	answers := _answers with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
	{_refused_for(answer) | some answer in answers} == _points
	not main.row_replicate_filter
}

test_each_point_refuses_the_questions_of_others[question.point] if {
	some question in [
		fixture.schema([fixture.field]),
		fixture.route,
		fixture.row({"country": "DE"}),
		fixture.replay,
		fixture.promotion,
		fixture.access,
		{"point": "none"},
	]
	answers := _answers with input as question
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
	{_refused_for(answer) | some answer in answers} == _points - {question.point}
}

test_the_home_column_is_a_guard_column if {
	_row(fixture.changed(fixture.row({"country": "DE"}), "/facts/guard_columns", [])).allow
}

test_a_row_brings_guard_columns_alone if {
	answer := _row(fixture.row({"country": "DE", "email": "a@b.example"}))
	not answer.allow
	answer.violations[0].message == "the input is not a question for row.replicate: row: email is no guard column"
}

# What is whole is tested beside bundle_data; here, that every part of it counts and that the reason is told.
test_data_that_is_not_whole_is_refused[note] if {
	some note, case in {
		"config": [{"rules": {"pii": "high"}}, [], fixture.matrix],
		"exceptions": [fixture.config, {}, fixture.matrix],
		"matrix": [fixture.config, [], {}],
	}
	answer := main.route_deploy with input as fixture.route
		with data.dataspine.config as case[0]
		with data.dataspine.exceptions as case[1]
		with data.dataspine.matrix as case[2]
	not answer.allow
	[violation.code | some violation in answer.violations] == ["engine.invalid_data"]
	startswith(answer.violations[0].message, sprintf("the bundle's data is not whole: %s need", [note]))
}

test_whole_sections_are_accepted if {
	sections := {
		"rules": {},
		"retention": {"maximum": {"PII": "P2Y"}},
		"subjects": {"pattern": `shop\..+`},
		"metadata": {"required": ["owner"]},
		"access": {
			"roles": {"engineer": ["ada"]},
			"grants": [{"role": "engineer", "permissions": ["publish"], "resources": "shop.**"}],
		},
	}
	_schema(fixture.schema([fixture.field]), sections, []).allow
}

test_no_input_is_refused_by_an_unbundled_policy if {
	answer := main.schema_publish with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as {}
	answer.policy == {"revision": "unbundled", "sequence": 0}
	not answer.allow
}

test_home_column_may_stand_in_a_row if {
	question := fixture.row({"country": "DE"})
	_row(fixture.changed(question, "/facts/guard_columns", [])).allow
	not _row(fixture.changed(fixture.changed(question, "/facts/guard_columns", []), "/row/country", "BR")).allow
}

test_constant_home_needs_no_row if {
	_row(fixture.changed(fixture.row({}), "/facts/home", {"constant": "EU"})).allow
	not _row(fixture.changed(fixture.row({}), "/facts/home", {"constant": "BR"})).allow
}

test_waivers_date_the_answer if {
	field := object.union(fixture.field, {"waiver": {"reason": "x", "until": "2026-12-01"}})
	_schema(fixture.schema([field]), fixture.config, []).valid_until == "2026-12-01T00:00:00Z"
}

test_other_points_answer if {
	replay := main.dead_letter_replay with input as fixture.replay
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
	replay.allow
	replay.valid_until == "2027-03-31T00:00:00Z"
	promotion := main.bundle_promote with input as fixture.promotion
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
	promotion.allow
	access := main.api_access with input as fixture.access
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
	[violation.code | some violation in access.violations] == ["access.not_permitted"]
}

test_malformed_custom_rules_deny[note] if {
	some note, rule in {
		"no set": {"deny": ["x"]},
		"object": {"deny": {}},
		"no violation": {"deny": {"x"}},
		"foreign code": {"deny": {_violation("pii.untagged_field")}},
		"half": {"deny": {{"code": "shop.odd", "severity": "error"}}},
		"obligations": {"deny": set(), "obligations": {{"type": "mask"}}},
	}
	answer := _custom(rule, {"engine": "ignore", "shop": "ignore"})
	not answer.allow
	[violation.code | some violation in answer.violations] == ["engine.malformed_rule"]
}

test_custom_rules_are_judged_as_ours_are if {
	rule := {"deny": {_violation("shop.odd")}}
	not _custom(rule, {}).allow
	_custom(rule, {"shop.odd": "warn"}).allow
	_custom({"deny": set()}, {}).allow
}

test_unknown_severity_denies if {
	rule := {"deny": {object.union(_violation("shop.odd"), {"severity": "high"})}}
	not _custom(rule, {}).allow
}

test_filter_answers_as_the_decision_does[note] if {
	some note, values in {
		"clear": {"country": "DE"},
		"own": {"country": "US"},
		"no entry": {"country": "BR"},
		"unknown": {"country": "XX"},
		"lower case": {"country": "de"},
		"empty": {"country": ""},
		"number": {"country": 7},
		"null": {"country": null},
		"missing": {},
	}
	every change in [["/at", fixture.at], ["/facts/home", {"constant": "EU"}], ["/facts/sink/masks", {}]] {
		_filter_agrees(fixture.changed(fixture.row(values), change[0], change[1]), {}, [])
	}
}

test_filter_follows_severities_and_exceptions[note] if {
	some note, setting in {
		"domain warns": [{"residency": "warn"}, []],
		"code before domain": [{"residency": "ignore", "residency.home_not_allowed": "error"}, []],
		"ignored": [{"residency.home_not_allowed": "ignore"}, []],
		"exception": [{}, [fixture.exception("residency.home_not_allowed")]],
		"exception of another": [{}, [fixture.exception("pii.untagged_field")]],
	}
	every country in ["DE", "BR"] {
		every at in [fixture.at, "2027-01-31T00:00:00Z"] {
			_filter_agrees(fixture.changed(fixture.row({"country": country}), "/at", at), setting[0], setting[1])
		}
	}
}

test_filter_of_no_question_is_never_true[note] if {
	some note, question in {"empty": {}, "other point": fixture.route, "no columns": fixture.changed(
		fixture.row({"country": "DE"}),
		"/facts/columns",
		[],
	)}
	not main.row_replicate_filter with input as question
		with data.dataspine.config as {"rules": {"residency": "ignore"}}
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
}

_filter_agrees(question, rules, exceptions) if {
	decided := main.row_replicate.allow with input as question
		with data.dataspine.config as {"rules": rules}
		with data.dataspine.exceptions as exceptions
		with data.dataspine.matrix as fixture.matrix
	filtered := {true | main.row_replicate_filter} with input as question
		with data.dataspine.config as {"rules": rules}
		with data.dataspine.exceptions as exceptions
		with data.dataspine.matrix as fixture.matrix
	filtered == {true | decided == true}
}

# The point whose question the answer says that it was not asked.
_refused_for(answer) := point if {
	not answer.allow
	[violation] := answer.violations
	violation.code == "engine.invalid_input"
	point := regex.find_all_string_submatch_n(`^the input is not a question for ([a-z_.]+): .`, violation.message, 1)[0][1]
}

_violation(code) := {
	"code": code,
	"severity": "error",
	"message": "odd",
	"path": "",
	"remediation": "",
	"controls": [],
}

_schema(question, config, exceptions) := answer if {
	answer := main.schema_publish with input as question
		with data.dataspine.config as config
		with data.dataspine.exceptions as exceptions
		with data.dataspine.matrix as fixture.matrix
}

_route(question) := answer if {
	answer := main.route_deploy with input as question
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.system.bundles as {"main": {"manifest": _manifest}}
}

_row(question) := answer if {
	answer := main.row_replicate with input as question
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
}

_custom(rule, rules) := answer if {
	answer := main.route_deploy with input as fixture.route
		with data.dataspine.config as {"rules": rules}
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.dataspine.custom as {"shop": {"odd": rule}}
}
