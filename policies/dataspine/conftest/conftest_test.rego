package dataspine.conftest_test

import data.dataspine.conftest
import data.dataspine.lib.fixture_test as fixture

test_an_allowed_question_passes if _judged(fixture.route) == [set(), set()]

test_what_denies_is_told_with_its_parts if {
	found := _judged(fixture.changed(fixture.route, "/facts/dead_letter/region", "us-east-1"))
	found[1] == set()
	found[0] == {{
		"msg": concat("", [
			"residency.dead_letter_abroad: the dead letter is in us-east-1, ",
			"and the rows it parks come from shop in eu-west-1",
		]),
		"code": "residency.dead_letter_abroad",
		"severity": "error",
		"path": "/facts/dead_letter/region",
		"line": 12,
		"remediation": "Move the dead letter to eu-west-1, or give sources of other regions their own route.",
		"controls": ["GDPR-44"],
	}}
}

test_a_warning_is_a_warning if {
	_codes(fixture.changed(fixture.schema([]), "/facts/metadata", {})) == [set(), {"contract.owner_missing"}]
}

test_what_cannot_be_judged_is_denied[note] if {
	some note, case in {
		"no question": [fixture.changed(fixture.route, "/facts", {}), "engine.invalid_input"],
		"unknown point": [{"point": "no.such"}, "engine.undefined"],
		"no point": [{"point": 7}, "engine.undefined"],
		"empty": [{}, "engine.invalid_input"],
		"text": ["x", "engine.invalid_input"],
		"null": [null, "engine.invalid_input"],
		"avro": [{"type": "record", "name": "A", "fields": []}, "engine.invalid_input"],
		"half a matrix": [{"geographies": {}}, "engine.invalid_input"],
		"half an exception": [{"rule": "pii.x"}, "engine.invalid_input"],
		"half a route": [{"sources": []}, "engine.invalid_input"],
		"half a manifest": [{"kind": "Job"}, "engine.invalid_input"],
	}
	_codes(case[0]) == [{case[1]}, set()]
}

test_what_is_refused_here_is_told_as_other_violations_are if {
	_judged({}) == [{_refused("engine.invalid_input", "the file is nothing that can be judged as it stands")}, set()]
	_judged({"point": "no.such"}) == [{_refused("engine.undefined", "no entry point answers this question")}, set()]
	_judged(_job(object.union(_declared, {"data-spine.dev/regoin": "x"}))) == [
		{_refused("engine.invalid_input", "there is no annotation data-spine.dev/regoin")},
		set(),
	]
}

_refused(code, message) := {
	"msg": sprintf("%s: %s", [code, message]),
	"code": code,
	"severity": "error",
	"path": "",
	"remediation": "Correct the file; pipe schemas and routes through `spine input POINT FILE`.",
	"controls": [],
}

test_a_file_that_no_entry_point_answers_is_denied[note] if {
	some note, document in {
		"question": {"point": "route.deploy"},
		"route": _route,
		"manifest": _job({"data-spine.dev/region": "us-east-1"}),
	}
	denied := _codes_of(conftest.deny) with input as document with data.dataspine.main as {}
	denied == {"engine.undefined"}
}

# An entry point that says no without a reason must not pass, nor one that says nothing.
test_an_answer_without_reasons_is_denied[note] if {
	some note, answer in {"no": {"allow": false, "violations": []}, "nothing": {}, "text": {"allow": "yes"}}
	denied := {violation.code | some violation in conftest.deny} with input as {"point": "route.deploy"}
		with data.dataspine.main as {"route_deploy": answer}
	denied == {"engine.undefined"}
}

test_an_allowing_answer_without_violations_passes if {
	conftest.deny == set() with input as {"point": "route.deploy"}
		with data.dataspine.main as {"route_deploy": {"allow": true, "violations": []}}
}

test_a_matrix_is_judged_raw if {
	_judged(fixture.matrix) == [set(), set()]
	_codes(fixture.changed(fixture.matrix, "/transfers/PII/EU/US/allow", "yes")) == [{"engine.invalid_data"}, set()]
	twice := fixture.changed(fixture.matrix, "/geographies/US/countries", ["DE"])
	some fault in _judged(twice)[0]
	fault.msg == "engine.invalid_data: matrix: DE belongs to more than one geography"
}

# Only what the file says is judged with it: nobody's configuration is wanted for that.
test_a_matrix_needs_no_bundle if {
	conftest.deny == set() with input as fixture.matrix
}

test_an_exception_is_judged_raw if {
	_judged(fixture.exception("pii.x")) == [set(), set()]
	_codes(fixture.changed(fixture.exception("pii.x"), "/reason", " ")) == [{"engine.invalid_data"}, set()]
}

_route := {
	"name": "shop.route",
	"sources": [{"name": "shop", "region": "eu-west-1"}],
	"sinks": [{"name": "lake", "region": "us-east-1"}],
	"dead-letter": {"region": "eu-west-1"},
}

test_a_route_is_judged_in_part_and_says_so if {
	_codes(_route) == [set(), {"engine.judged_in_part"}]
	some warned in _judged(_route)[1]
	warned.msg == "engine.judged_in_part: a route's file does not say how its columns are classified"
	warned.remediation == "Judge the whole route with `spine cdc plan`."
}

test_a_route_is_denied_for_what_it_says[note] if {
	some note, case in {
		"dead letter": ["/dead-letter/region", "us-east-1", {"residency.dead_letter_abroad"}],
		"source": ["/sources/0/region", "mars-1", {"residency.region_unknown", "residency.dead_letter_abroad"}],
		"second source": [
			"/sources/1",
			{"name": "other", "region": "us-east-1"},
			{"residency.dead_letter_abroad"},
		],
		"second source without region": ["/sources/1", {"name": "other"}, {"engine.invalid_input"}],
		"source no object": ["/sources/1", "shop", {"engine.invalid_input"}],
		"sink": ["/sinks/0/region", "mars-1", {"residency.region_unknown"}],
		"no dead letter": ["/dead-letter", {}, {"engine.invalid_input"}],
		"dead letter no object": ["/dead-letter", "eu-west-1", {"engine.invalid_input"}],
		"no sources": ["/sources", [], {"engine.invalid_input"}],
		"sources no list": ["/sources", {}, {"engine.invalid_input"}],
		"sinks no list": ["/sinks", "lake", {"engine.invalid_input"}],
		"no region": ["/sources/0", {"name": "shop"}, {"engine.invalid_input"}],
		"region no text": ["/sinks/0/region", 7, {"engine.invalid_input"}],
		"no name": ["/sources/0", {"region": "eu-west-1"}, {"engine.invalid_input"}],
		"name no text": ["/sinks/0/name", 7, {"engine.invalid_input"}],
	}
	_codes(fixture.changed(_route, case[0], case[1])) == [case[2], {"engine.judged_in_part"}]
}

test_a_file_is_judged_as_one_kind_alone if {
	annotations := {"data-spine.dev/region": "mars-1", "data-spine.dev/regoin": "x"}
	annotated := {"apiVersion": "v1", "kind": "Route", "metadata": {"annotations": annotations}}
	_codes(object.union(_route, annotated)) == [set(), {"engine.judged_in_part"}]
	_codes(object.union(_route, fixture.route)) == _codes(object.union(annotated, fixture.route))
}

test_exceptions_know_a_route_by_its_name[note] if {
	abroad := fixture.changed(_route, "/dead-letter/region", "us-east-1")
	some note, case in {
		"named": [abroad, "shop.*", set()],
		"another": [abroad, "unnamed", {"residency.dead_letter_abroad"}],
		"unnamed": [object.remove(abroad, ["name"]), "unnamed", set()],
	}
	exception := object.union(fixture.exception("residency.dead_letter_abroad"), {
		"applies-to": case[1],
		"effective-until": "2262-02-01T00:00:00Z",
	})
	denied := _codes_of(conftest.deny) with input as case[0]
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as [exception]
		with data.dataspine.matrix as fixture.matrix
	denied == case[2]
}

test_a_route_without_a_name_is_judged_all_the_same if {
	_codes(object.remove(_route, ["name"])) == [set(), {"engine.judged_in_part"}]
}

test_configuration_counts_for_raw_files if {
	abroad := fixture.changed(_route, "/dead-letter/region", "us-east-1")
	warned := [_codes_of(conftest.deny), _codes_of(conftest.warn)] with input as abroad
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.dataspine.config as {"rules": {"residency": "warn"}}
	warned == [set(), {"engine.judged_in_part", "residency.dead_letter_abroad"}]
	ignored := _codes_of(conftest.deny | conftest.warn) with input as abroad
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
		with data.dataspine.config as {"rules": {"residency": "ignore"}}
	ignored == {"engine.judged_in_part"}
}

_job(annotations) := {
	"apiVersion": "batch/v1",
	"kind": "Job",
	"metadata": {"name": "report", "annotations": annotations},
}

_declared := {
	"data-spine.dev/region": "us-east-1",
	"data-spine.dev/homes": "US",
	"data-spine.dev/classifications": "PII, Public",
}

test_a_manifest_is_judged_by_what_it_declares[note] if {
	some note, case in {
		"nothing": [{}, set()],
		"of others": [{"example.org/region": "mars-1"}, set()],
		"region alone": [{"data-spine.dev/region": "us-east-1"}, set()],
		"unknown region": [{"data-spine.dev/region": "mars-1"}, {"residency.region_unknown"}],
		"allowed": [_declared, set()],
		"no entry": [object.union(_declared, {"data-spine.dev/homes": "BR"}), {"residency.region_denied"}],
		"one of two": [object.union(_declared, {"data-spine.dev/homes": "US, BR"}), {"residency.region_denied"}],
		"two regions": [{"data-spine.dev/region": "us-east-1, eu-west-1"}, {"residency.region_unknown"}],
		"no region": [object.remove(_declared, ["data-spine.dev/region"]), {"engine.invalid_input"}],
		"blank region": [{"data-spine.dev/region": " "}, {"engine.invalid_input"}],
		"number": [{"data-spine.dev/region": 7}, {"engine.invalid_input"}],
		"no homes": [object.remove(_declared, ["data-spine.dev/homes"]), {"engine.invalid_input"}],
		"unknown home": [object.union(_declared, {"data-spine.dev/homes": "allowed"}), {"residency.region_denied"}],
		"unknown annotation": [object.union(_declared, {"data-spine.dev/regoin": "x"}), {"engine.invalid_input"}],
		"homes alone": [{"data-spine.dev/homes": "EU"}, {"engine.invalid_input"}],
		"no classifications": [
			object.remove(_declared, ["data-spine.dev/classifications"]),
			{"engine.invalid_input"},
		],
	}
	_codes(_job(case[0])) == [case[1], set()]
}

test_annotations_are_read_where_pods_get_them[note] if {
	template := {"template": {"metadata": {"annotations": {"data-spine.dev/region": "mars-1"}}}}
	some note, spec in {"deployment": template, "cron job": {"jobTemplate": {"spec": template}}}
	_codes(object.union(_job({}), {"spec": spec})) == [{"residency.region_unknown"}, set()]
}

test_a_workload_is_named_once if {
	denied := _judged(_job({"data-spine.dev/region": "mars-1"}))[0]
	[violation.msg | some violation in denied] == [concat("", [
		"residency.region_unknown: the region mars-1 of Job/report ",
		"belongs to no geography of the matrix",
	])]
}

test_messages_name_what_a_manifest_declares if {
	regions := _judged(_job({"data-spine.dev/region": "us-east-1, eu-west-1"}))[0]
	[violation.msg | some violation in regions] == [concat("", [
		"residency.region_unknown: the region eu-west-1,us-east-1 of Job/report ",
		"belongs to no geography of the matrix",
	])]
	fields := _judged(_job(object.union(_declared, {"data-spine.dev/homes": "BR"})))[0]
	{violation.field | some violation in fields} == {"data"}
}

# The basis of EU to US is dated, and obliges to a mask that a workload cannot show.
test_a_dated_basis_counts_only_at_a_known_time if {
	job := _job(object.union(_declared, {"data-spine.dev/homes": "EU"}))
	_codes(job) == [{"residency.transfer_basis_expired", "residency.obligation_missing"}, set()]
	codes := _codes(job) with data.at as fixture.at
	codes == [{"residency.obligation_missing"}, set()]
}

_codes(document) := [_codes_of(violations) | some violations in _judged(document)]

_codes_of(violations) := {violation.code | some violation in violations}

_judged(document) := found if {
	found := [conftest.deny, conftest.warn] with input as document
		with data.dataspine.config as fixture.config
		with data.dataspine.exceptions as []
		with data.dataspine.matrix as fixture.matrix
}
