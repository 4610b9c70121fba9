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
}

allow if {
	_is_known
	input.method == "POST"
	array.slice(input.path, 0, 4) in {["v1", "data", "dataspine", "main"], ["v1", "compile", "dataspine", "main"]}
	count(input.path) == 5
	regex.match(`^[a-z_]+$`, input.path[4])
}

# Digests of the tokens stand in a file beside the sidecar, outside the bundle, which all sidecars share.
_is_known if crypto.sha256(input.identity) in data.sidecar.tokens
