# METADATA
# description: |
#   The answer to the question in `input`, collected from every rule. A folder under rules/<domain>/<fault> is a
#   rule of the product, one under custom/<domain>/<fault> a rule of the workspace.
package dataspine.lib.decision

import data.dataspine.lib.bundle_data
import data.dataspine.lib.config
import data.dataspine.lib.exceptions
import data.dataspine.lib.transfers
import data.dataspine.lib.waivers

# METADATA
# description: |
#   The decision; undefined, which entry points turn into a refusal, unless the question is what the schema of
#   its point says and the bundle's data is whole.
answer := {
	"allow": count(_denying) == 0,
	"violations": [violation | some violation in _violations],
	"obligations": [obligation | some obligation in _obligations],
	"policy": _policy,
	"valid_until": _valid_until,
} if {
	json.match_schema(input, data.dataspine.schemas[input.point])[0] # regal ignore:unresolved-reference
	time.parse_rfc3339_ns(input.at) > 0
	count(_strangers) == 0
	bundle_data.is_whole
}

# METADATA
# description: |
#   Whether what is known without the row is a whole question. The filter asks this in place of `answer`, which
#   reads the row.
is_filter_question if {
	json.match_schema(input.facts, data.dataspine.schemas[input.point].properties.facts)[0]
	time.parse_rfc3339_ns(input.at) > 0
	bundle_data.is_whole
}

# METADATA
# description: The decision on what is no question for that point, or cannot be judged with this bundle.
refusal(point) := {
	"allow": false,
	"violations": [_refused(point)],
	"obligations": [],
	"policy": _policy,
	"valid_until": null,
}

_refused(point) := {
	"code": "engine.invalid_data",
	"severity": "error",
	"message": sprintf("the bundle's data is not whole: %s", [_first(bundle_data.faults)]),
	"path": "",
	"remediation": "Correct the configuration, exceptions or matrix of the workspace and build the bundle again.",
	"controls": [],
} if {
	not bundle_data.is_whole
} else := {
	"code": "engine.invalid_input",
	"severity": "error",
	"message": sprintf("the input is not a question for %s: %s", [point, _first(_faults(point) | _strangers)]),
	"path": "",
	"remediation": "Send the point, the time and the facts that the input schema of the point asks for.",
	"controls": [],
}

# Few enough for one line: the caller corrects one thing at a time.
_first(faults) := concat("; ", array.slice(sort([fault | some fault in faults]), 0, 3)) if {
	count(faults) > 0
} else := "point, time or facts are missing"

_faults(point) := {sprintf("%s: %s", [error.field, error.desc]) |
	some error in json.match_schema(_question, data.dataspine.schemas[point])[1]
}

# An undefined input is an empty question.
default _question := {}

_question := input

# Guard columns are the only values of a row that may enter a question, because questions are logged.
_strangers contains fault if {
	some column, _ in input.row
	not _is_guard(column, input.facts)
	fault := sprintf("row: %s is no guard column", [column])
}

_is_guard(column, facts) if column in facts.guard_columns

_is_guard(column, facts) if facts.home.column == column

# Only a warning lets pass: a severity that nobody knows denies.
_denying contains violation if {
	some violation in _violations
	violation.severity != "warn"
}

_violations contains _judged(violation) if {
	some domain, fault
	some violation in data.dataspine.rules[domain][fault].deny
	config.severity(violation.code, violation.severity) != "ignore"
}

_violations contains _judged(violation) if {
	some domain, fault
	some violation in data.dataspine.custom[domain][fault].deny
	_is_whole(violation, domain, fault)
	config.severity(violation.code, violation.severity) != "ignore"
}

# What is malformed is neither configured nor excepted away; its author learns it from the first decision.
_violations contains _malformed(domain, fault) if {
	some domain, fault
	deny := data.dataspine.custom[domain][fault].deny
	not is_set(deny)
}

_violations contains _malformed(domain, fault) if {
	some domain, fault
	some violation in data.dataspine.custom[domain][fault].deny
	not _is_whole(violation, domain, fault)
}

# Nobody would check what a custom rule obliges to, and an unchecked obligation is a promise without a keeper.
_violations contains _malformed(domain, fault) if {
	some domain, fault
	obligations := data.dataspine.custom[domain][fault].obligations
	obligations != set()
}

_malformed(domain, fault) := {
	"code": "engine.malformed_rule",
	"severity": "error",
	"message": sprintf("the custom rule %s.%s does not answer with a set of whole violations", [domain, fault]),
	"path": "",
	"remediation": "Let `deny` contain result.violation(rego.metadata.chain(), {...}), and state no obligations.",
	"controls": [],
}

_is_whole(violation, domain, fault) if {
	violation.code == sprintf("%s.%s", [domain, fault])
	every key in ["severity", "message", "path", "remediation"] {
		is_string(violation[key])
	}
	is_array(violation.controls)
}

_judged(violation) := exceptions.apply(
	object.union(violation, {"severity": config.severity(violation.code, violation.severity)}),
	input.facts.name,
	input.at,
)

_obligations contains obligation if {
	some domain, fault
	some obligation in data.dataspine.rules[domain][fault].obligations
}

# The bundle that answers says so itself, in the same evaluation.
default _policy := {"revision": "unbundled", "sequence": 0}

_policy := {
	"revision": manifest.revision,
	"sequence": object.get(manifest, ["metadata", "sequence"], 0),
} if {
	some bundle in data.system.bundles
	manifest := bundle.manifest
	"dataspine" in manifest.roots
}

# The answer holds until the next dated boundary after `at`; the schema of the point has no other clock.
default _valid_until := null

_valid_until := time.format(min(_later))

_later contains moment if {
	some moment in ((exceptions.boundaries | _transfer_boundaries) | waivers.boundaries)
	moment > time.parse_rfc3339_ns(input.at)
}

default _transfer_boundaries := set()

_transfer_boundaries := transfers.boundaries if {
	input.point in {"dead_letter.replay", "route.deploy", "row.replicate"}
}
