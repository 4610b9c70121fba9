# METADATA
# description: The residency matrix, asked. What it does not say, it denies.
package dataspine.lib.transfers

# METADATA
# description: Every geography that the matrix knows.
geographies contains name if some name, _ in data.dataspine.matrix.geographies

# METADATA
# description: The geography that a region belongs to; "unknown" for a region that the matrix does not list.
geography(region) := name if {
	some name, geography in data.dataspine.matrix.geographies
	region in geography.regions
} else := "unknown"

# METADATA
# description: The entry for a transfer, the most specific first. No entry is a denial.
entry(classification, home, target) := found if {
	found := data.dataspine.matrix.transfers[classification][home][target]
} else := found if {
	# "*" is any home that the matrix knows: a home nobody listed must not profit from it.
	home in geographies
	found := data.dataspine.matrix.transfers[classification]["*"][target]
} else := {"allow": false}

# METADATA
# description: Whether this classification may go from home to target at that time, obligations aside.
is_allowed(classification, home, target, at) if {
	found := entry(classification, home, target)
	found.allow == true
	_is_live(found, at)
}

# METADATA
# description: What the entries for a column's classifications oblige to, as {type, method}.
owed(column, home, target) := {obligation |
	some classification in column.classifications
	some obligation in object.get(entry(classification, home, target), "obligations", [])
}

# METADATA
# description: What a column owes that this sink does not do. An obligation of an unknown type is never done.
unmet(column, home, table, sink) := {obligation |
	some obligation in owed(column, home, geography(sink.region))
	not _is_done(obligation, mask_of(table, column), sink)
}

# METADATA
# description: The name by which a sink masks a column.
mask_of(table, column) := sprintf("%s.%s", [table, column.path])

# METADATA
# description: Whether every column may go, as this sink takes it, from home to the sink at that time.
is_clear(columns, home, table, sink, at) if {
	target := geography(sink.region)
	classifications := _classifications(columns)
	every classification in classifications {
		is_allowed(classification, home, target, at)
	}
	undone := {column.path |
		some classification in classifications
		some obligation in entry(classification, home, target).obligations
		some column in columns
		classification in column.classifications
		not _is_done(obligation, mask_of(table, column), sink)
	}
	count(undone) == 0
}

# Many columns carry the same few. Undefined when one carries none: that one is not clear.
_classifications(columns) := union({{each | some each in column.classifications} | some column in columns}) if {
	every column in columns {
		count(column.classifications) > 0
	}
}

# METADATA
# description: |
#   The geographies whose rows a table may send to a sink. Listed homes are taken at the route's word and still
#   have to be clear; "allowed" is every geography that is.
clear_homes(table, columns, homes, sink, at) := {home |
	some home in geographies
	_is_declared(home, homes)
	is_clear(columns, home, table, sink, at)
}

# METADATA
# description: The moments at which the basis of a transfer ends, in nanoseconds.
boundaries contains time.parse_rfc3339_ns(until) if {
	some classification, home, target
	until := data.dataspine.matrix.transfers[classification][home][target].basis.until
}

_is_done(obligation, column, sink) if {
	obligation.type == "mask"
	sink.masks[column] == obligation.method
}

_is_declared(_, "allowed")

_is_declared(home, homes) if home in homes

_is_live(found, at) if time.parse_rfc3339_ns(at) < time.parse_rfc3339_ns(found.basis.until)

_is_live(found, _) if not "basis" in object.keys(found)
