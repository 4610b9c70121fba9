# METADATA
# description: |
#   What the workspace configured, as signed data of the bundle. A section that is not there is not configured:
#   bundle_data has refused what is there and not whole.
package dataspine.lib.config

# METADATA
# description: The severity configured for a code, else for its domain, else the rule's own.
severity(code, own) := object.get(
	data.dataspine.config.rules,
	code,
	object.get(data.dataspine.config.rules, split(code, ".")[0], own),
)

# METADATA
# description: The metadata keys that every schema needs.
required_metadata := object.get(data.dataspine.config, ["metadata", "required"], [])

# METADATA
# description: What a subject's name looks like; undefined when any name will do.
subject_pattern := data.dataspine.config.subjects.pattern

# METADATA
# description: How long data may be kept, by classification.
maximum_retention := object.get(data.dataspine.config, ["retention", "maximum"], {})
