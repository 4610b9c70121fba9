# METADATA
# description: |
#   Whether the data that people write is whole: configuration, exceptions, residency matrix. A rule that looks
#   something up in data of another shape finds nothing, and nothing found must never look like nothing to object
#   to. The files have JSON Schemas of their own; this repeats in Rego what decisions rest on. Data that nobody
#   signed is looked through at every decision.
package dataspine.lib.bundle_data

import data.dataspine.lib.settings

# METADATA
# description: Whether everything is there and whole.
is_whole if _is_stated

is_whole if is_found_whole

# What the manifest of a signed bundle says of its own data was found by `is_found_whole` when it was signed.
_is_stated if {
	some bundle in data.system.bundles
	"dataspine" in bundle.manifest.roots
	bundle.manifest.metadata["data-is-whole"] == true
}

# METADATA
# description: The same, found in the data itself.
is_found_whole if {
	_is_config
	_is_exceptions
	_is_matrix
}

# METADATA
# description: What is not whole, for the message of the refusal.
faults contains "config needs `rules`, each of them error, warn or ignore, and only whole sections" if not _is_config

faults contains sprintf("config: `%s` is not whole, or nothing that rules read", [key]) if {
	some key, section in object.remove(data.dataspine.config, ["rules"])
	not settings.is_whole(key, section)
}

faults contains "exceptions need a list, each with rule, applies-to, reason, approved-by, effective-until" if {
	not _is_exceptions
}

faults contains "matrix needs `geographies` and `transfers`, and only whole entries" if not _is_matrix

faults contains sprintf("matrix: %s belongs to more than one geography", [place]) if {
	some key in ["countries", "regions"]
	some name, geography in data.dataspine.matrix.geographies
	some place in geography[key]
	some other, rival in data.dataspine.matrix.geographies
	name < other
	place in rival[key]
}

_is_config if {
	is_object(data.dataspine.config.rules)
	every severity in data.dataspine.config.rules {
		severity in {"error", "warn", "ignore"}
	}
	every key, section in object.remove(data.dataspine.config, ["rules"]) {
		settings.is_whole(key, section)
	}
}

_is_exceptions if {
	is_array(data.dataspine.exceptions)
	every exception in data.dataspine.exceptions {
		object.keys(exception) == {"rule", "applies-to", "reason", "approved-by", "effective-until"}
		every text in exception {
			trim_space(text) != ""
		}
		time.parse_rfc3339_ns(exception["effective-until"]) > 0
	}
}

_is_matrix if {
	object.keys(data.dataspine.matrix) - {"version"} == {"geographies", "transfers"}
	_is_places("countries")
	_is_places("regions")
	_is_transfers(data.dataspine.matrix.transfers)
}

# Every level is an object and every entry whole. Many entries say the same, so what differs is read once: this is
# asked at every decision. What is no object has no keys, and is then missing from the count.
_is_transfers(transfers) if {
	is_object(transfers)
	{type_name(homes) | homes := transfers[_]} - {"object"} == set()
	targets := {each | each := transfers[_][_]}
	{type_name(each) | some each in targets} - {"object"} == set()
	entries := {entry | entry := targets[_][_]}
	keys := [object.keys(entry) | some entry in entries]
	count(keys) == count(entries)
	{each | some each in keys} - _entry_keys == set()
	{entry.allow | some entry in entries} - {true, false} == set()
	_are_bases({entry.basis | some entry in entries})
	every obligations in {entry.obligations | some entry in entries} {
		_is_obligations(obligations)
	}
}

_entry_keys := {{"allow"}, {"allow", "basis"}, {"allow", "obligations"}, {"allow", "basis", "obligations"}}

_are_bases(bases) if {
	{object.keys(basis) | some basis in bases} - {{"name", "until"}} == set()

	# What is no object has no name either.
	names := [trim_space(basis.name) | some basis in bases]
	count(names) == count(bases)
	not "" in names
	every until in {basis.until | some basis in bases} {
		time.parse_rfc3339_ns(until) > 0
	}
}

# A place that belongs to two geographies would take the looser answer of both. Only a list of texts can be joined.
_is_places(key) if {
	geographies := data.dataspine.matrix.geographies
	is_object(geographies)
	lists := [list |
		list := geographies[_][key]
		is_string(concat("", list))
	]
	count(lists) == count(geographies)
	places := array.flatten(lists)
	count({place | some place in places}) == count(places)
}

_is_obligations(obligations) if {
	is_array(obligations)
	every obligation in obligations {
		object.keys(obligation) == {"type", "method"}
		trim_space(obligation.type) != ""
		trim_space(obligation.method) != ""
	}
}
