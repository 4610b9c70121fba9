package dataspine.authz_test

import data.dataspine.authz

_sidecar := {"tokens": [crypto.sha256("secret")]}

_allows(request) if authz.allow with input as request with data.sidecar as _sidecar

_request(method, path) := {"method": method, "path": path, "params": {}, "body": {"input": {}}, "identity": "secret"}

_data := ["v1", "data", "dataspine", "main", "row_replicate"]

_compile := ["v1", "compile", "dataspine", "main", "row_replicate_filter"]

_allowed := {
	["POST", ["v1", "data", "dataspine", "main", "schema_publish"]],
	["POST", ["v1", "compile", "dataspine", "main", "row_replicate_filter"]],
	["GET", ["metrics"]],
	["GET", ["health"]],
}

_refused := {
	["PUT", ["v1", "data", "dataspine", "main", "schema_publish"]],
	["PATCH", ["v1", "data", "dataspine", "main", "schema_publish"]],
	["DELETE", ["v1", "data", "dataspine", "main", "schema_publish"]],
	["GET", ["v1", "data", "dataspine", "main", "schema_publish"]],
	["PUT", ["v1", "policies", "system"]],
	["GET", ["v1", "policies"]],
	["POST", ["v1", "query"]],
	["POST", ["v1", "compile"]],
	["POST", ["v1", "data"]],
	["POST", ["v1", "data", "sidecar"]],
	["POST", ["v1", "data", "dataspine", "main"]],
	["POST", ["v1", "data", "dataspine", "main", "x", "y"]],
	["POST", ["v1", "data", "dataspine", "main", ".."]],
	["POST", ["v1", "data", "dataspine", "lib", "decision"]],
	["POST", ["v0", "data", "dataspine", "main", "x"]],
	["POST", [""]],
	["GET", ["v1", "config"]],
	["GET", ["v1", "status"]],
	["POST", ["metrics"]],
	["POST", ["health"]],
}

test_a_known_caller_may_ask[request] if {
	some request in _allowed
	_allows(_request(request[0], request[1]))
}

test_a_known_caller_may_do_nothing_else[request] if {
	some request in _refused
	not _allows(_request(request[0], request[1]))
}

test_metrics_alone_may_be_asked_for[path] if {
	some path in {_data, _compile}
	_allows(object.union(_request("POST", path), {"params": {"metrics": ["true"]}}))
}

_parametrised := [["POST", _data], ["POST", _compile], ["GET", ["metrics"]]]

test_no_other_parameter_is_answered[note] if {
	some note, params in {
		"explain": {"explain": ["full"]},
		"beside metrics": {"metrics": [], "pretty": []},
		"none": null,
		"a list": ["metrics"],
	}
	every request in _parametrised {
		not _allows(object.union(_request(request[0], request[1]), {"params": params}))
	}
}

test_a_filter_may_name_the_row_and_dialects[note] if {
	some note, body in {
		"nothing": {},
		"the row": {"unknowns": ["input.row"]},
		"no options": {"options": {}},
		"dialects": {"options": {"targetDialects": ["ucast+all"], "targetSQLTableMappings": {"ucast": {}}}},
	}
	_allows(object.union(_request("POST", _compile), {"body": body}))
}

test_a_filter_may_name_nothing_else[note] if {
	some note, body in {
		"all": {"unknowns": ["input"]},
		"more": {"unknowns": ["input.row", "input.facts"]},
		"nobody": {"unknowns": []},
		"null": {"unknowns": null},
		"a mask rule": {"options": {"maskRule": "data"}},
		"a query": {"query": "data = x"},
		"no object": [],
		"no options": {"options": null},
	}
	not _allows(object.union(object.remove(_request("POST", _compile), ["body"]), {"body": body}))
}

test_a_filter_without_a_body_is_refused if not _allows(object.remove(_request("POST", _compile), ["body"]))

test_a_question_needs_no_known_body if _allows(object.remove(_request("POST", _data), ["body"]))

test_an_unknown_caller_may_ask_for_the_health_alone[note] if {
	some note, extra in {"none": {}, "empty": {"identity": ""}, "wrong": {"identity": "x"}, "odd": {"identity": 7}}
	reached := {path |
		some [method, path] in _allowed
		request := object.remove(_request(method, path), ["identity"])
		_allows(object.union(request, extra))
	}
	reached == {["health"]}
}

test_without_tokens_nobody_is_known[note] if {
	some note, sidecar in {"empty": {}, "none": {"tokens": []}, "text": {"tokens": "secret"}}
	not authz.allow with input as _request("GET", ["metrics"]) with data.sidecar as sidecar
}

test_odd_requests_are_refused[note] if {
	some note, request in {"empty": {}, "null": null, "text": "a", "path": {"method": "GET", "path": "health"}}
	authz.allow == false with input as request with data.sidecar as _sidecar
}
