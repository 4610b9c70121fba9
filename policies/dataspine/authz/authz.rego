# METADATA
# description: |
#   Who may call a sidecar's OPA, which runs with --authentication=token --authorization=basic. Until a bundle is
#   active nothing is defined here, and OPA refuses every call.
package dataspine.authz

# METADATA
# title: May this request be answered?
# description: |
#   A caller whose token the sidecar was started with may ask the entry points, and nothing that writes or shows
#   policies or data. Everybody may ask for the health, because a probe carries no token.
default allow := false

allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	_is_known
	input.method == "GET"
	input.path == ["metrics"]
	_shows_no_more
}

allow if {
	_is_known
	_names_an_entry("data")
	_shows_no_more
}

allow if {
	_is_known
	_names_an_entry("compile")
	_shows_no_more
	_filters_rows
}

_names_an_entry(api) if {
	input.method == "POST"
	array.slice(input.path, 0, 4) == ["v1", api, "dataspine", "main"]
	count(input.path) == 5
	regex.match(`^[a-z_]+$`, input.path[4])
}

# `explain` answers with rules and texts of the matrix, and the others with more than was asked.
_shows_no_more if object.keys(input.params) - {"metrics"} == set()

# With other unknowns the answer holds policy and data; a query or a mask rule of the caller is one of any data.
_filters_rows if {
	object.keys(input.body) - {"input", "unknowns", "options"} == set()
	_leaves_the_row_unknown
	object.keys(object.get(input.body, "options", {})) - {"targetDialects", "targetSQLTableMappings"} == set()
}

_leaves_the_row_unknown if not "unknowns" in object.keys(input.body)

_leaves_the_row_unknown if input.body.unknowns == ["input.row"]

# Digests of the tokens stand in a file beside the sidecar, outside the bundle, which all sidecars share.
_is_known if crypto.sha256(input.identity) in data.sidecar.tokens
