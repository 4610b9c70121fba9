# METADATA
# description: What the workspace configured, as signed data of the bundle.
package dataspine.lib.config

# METADATA
# description: The severity configured for a code, else for its domain, else the rule's own.
severity(code, own) := object.get(
	data.dataspine.config.rules,
	code,
	object.get(data.dataspine.config.rules, split(code, ".")[0], own),
)
