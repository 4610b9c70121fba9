# METADATA
# description: |
#   What conftest asks: `deny` and `warn` over the same rules. A question, as `spine input` prints it, is judged
#   whole. A file that conftest reads raw is judged as far as it says: a residency matrix, an exception, a CDC route
#   without its columns, a Kubernetes manifest by its data-spine.dev annotations. Anything else is denied.
package dataspine.conftest

import data.dataspine.lib.bundle_data
import data.dataspine.main

# METADATA
# description: What denies, with the parts of the violation as metadata.
deny contains _told(violation) if {
	some violation in _violations
	violation.severity != "warn"
}

# METADATA
# description: What warns.
warn contains _told(violation) if {
	some violation in _violations
	violation.severity == "warn"
}

_told(violation) := object.union(
	object.remove(violation, ["message"]),
	{"msg": sprintf("%s: %s", [violation.code, violation.message])},
)

_violations contains violation if {
	some violation in _answer.violations
	not _is_repeated(violation)
}

# An answer that neither allows nor says why not is a refusal.
_violations contains _refused("engine.undefined", "no entry point answers this question") if {
	_kind in {"question", "route", "manifest"}
	not _is_answered
}

_violations contains _refused("engine.invalid_data", fault) if {
	_kind == "matrix"
	some fault in bundle_data.faults with data.dataspine.matrix as input
		with data.dataspine.config as {"rules": {}}
		with data.dataspine.exceptions as []
}

_violations contains _refused("engine.invalid_data", fault) if {
	_kind == "exception"
	some fault in bundle_data.faults with data.dataspine.exceptions as [input]
}

# What a route's columns are classified as stands in the registry, not in its file.
_violations contains object.union(
	_refused("engine.judged_in_part", "a route's file does not say how its columns are classified"),
	{"severity": "warn", "remediation": "Judge the whole route with `spine cdc plan`."},
) if {
	_kind == "route"
}

_violations contains _refused("engine.invalid_input", sprintf("there is no annotation data-spine.dev/%s", [name])) if {
	_kind == "manifest"
	some name in (_annotations - {"region", "homes", "classifications"})
}

_violations contains _refused("engine.invalid_input", "the file is nothing that can be judged as it stands") if {
	_kind == "unknown"
}

_is_answered if _answer.allow == true

_is_answered if count(_answer.violations) > 0

_refused(code, message) := {
	"code": code,
	"severity": "error",
	"message": message,
	"path": "",
	"remediation": "Correct the file; pipe schemas and routes through `spine input POINT FILE`.",
	"controls": [],
}

_answer := main[replace(input.point, ".", "_")]

# The entry point refuses a question that is not whole, so what a file lacks denies.
_answer := answer if {
	_kind == "route"
	sources := _systems(input.sources, {})
	question := _routed(sources, _systems(input.sinks, {"masks": {}}), _value(input, "dead-letter"), _unread)
	answer := main.route_deploy with input as question
}

_answer := answer if {
	_kind == "manifest"
	count(_annotations) > 0
	place := {"name": _name, "region": concat(",", _values("region"))}
	question := _routed(_systems([place], {}), _systems([place], {"masks": {}}), place, _sent)
	answer := main.route_deploy with input as question
}

_answer := {"allow": true} if {
	_kind == "manifest"
	count(_annotations) == 0
}

default _kind := "unknown"

_kind := "question" if {
	_says(["point"])
} else := "matrix" if {
	_says(["geographies", "transfers"])
} else := "exception" if {
	_says(["rule", "effective-until"])
} else := "route" if {
	_says(["sources", "sinks"])
} else := "manifest" if {
	_says(["apiVersion", "kind"])
}

_says(keys) if {
	every key in keys {
		key in object.keys(input)
	}
}

_routed(sources, sinks, dead_letter, table) := {"point": "route.deploy", "at": _at, "facts": {
	"name": _name,
	"sources": sources,
	"sinks": sinks,
	"tables": [table],
	"dead_letter": {"region": _value(dead_letter, "region"), "line": null},
}}

_systems(systems, own) := [object.union(system, own) |
	some found in systems
	system := {"name": _value(found, "name"), "region": _value(found, "region"), "line": null}
]

# What is missing becomes null, which the schema refuses; undefined, it would vanish.
_value(found, key) := found[key]

_value(found, key) := null if not found[key]

# A table that any sink may take, in the place of one whose columns nobody knows here.
_unread := {
	"name": _name,
	"source": _name,
	"subject": null,
	"line": null,
	"homes": "allowed",
	"home": {"constant": "unread"},
	"guard_columns": [],
	"columns": [_column(["Public"])],
}

_column(classifications) := {"path": "data", "classifications": classifications, "key": false, "line": null}

_sent := _unread if count(_annotations & {"homes", "classifications"}) == 0

_sent := object.union(_unread, {
	"homes": _values("homes"),
	"columns": [_column(_values("classifications"))],
}) if {
	count(_annotations & {"homes", "classifications"}) > 0
}

_annotated contains input.metadata.annotations

_annotated contains input.spec.template.metadata.annotations

_annotated contains input.spec.jobTemplate.spec.template.metadata.annotations

_annotations contains trim_prefix(key, "data-spine.dev/") if {
	some annotations in _annotated
	some key, _ in annotations
	startswith(key, "data-spine.dev/")
}

_values(name) := sort({trim_space(value) |
	some annotations in _annotated
	some value in split(annotations[sprintf("data-spine.dev/%s", [name])], ",")
})

# A file has no time. Without `at` in conftest's data, every dated basis counts as ended.
default _at := "2262-01-01T00:00:00Z"

_at := data.at # regal ignore:unresolved-reference

default _name := "unnamed"

_name := input.name

_name := sprintf("%s/%s", [input.kind, input.metadata.name])

# A workload is source, sink and dead letter at once; it is told of once.
_is_repeated(violation) if {
	_kind == "manifest"
	some place in ["/facts/sources/", "/facts/dead_letter/"]
	startswith(violation.path, place)
}
