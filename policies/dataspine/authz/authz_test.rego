package dataspine.authz_test

import data.dataspine.authz

_sidecar := {"tokens": [crypto.sha256("secret")]}

_allows(request) if authz.allow with input as request with data.sidecar as _sidecar

_request(method, path) := {"method": method, "path": path, "identity": "secret"}

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

test_an_unknown_caller_may_ask_for_the_health_alone[note] if {
	some note, extra in {"none": {}, "empty": {"identity": ""}, "wrong": {"identity": "x"}, "odd": {"identity": 7}}
	reached := {path |
		some [method, path] in _allowed
		_allows(object.union({"method": method, "path": path}, extra))
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
