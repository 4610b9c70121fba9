# METADATA
# title: A schema carries the metadata that the workspace asks for
# description: What a team needs to find and judge a schema is named in the configuration, under `metadata.required`.
# labels:
#   controls: [SOC2-CC2.1]
# custom:
#   severity: warn
#   message: "{subject} has no metadata `{key}`"
#   remediation: "Add it to the metadata, for example `--meta {key}=…`."
package dataspine.rules.contract.metadata_missing

import data.dataspine.lib.config
import data.dataspine.lib.result

# METADATA
# description: One violation per key that is asked for and missing, blank or no text.
deny contains violation if {
	input.point == "schema.publish"
	some key in config.required_metadata
	not _has(key)

	violation := result.violation(rego.metadata.chain(), {
		"path": sprintf("/facts/metadata/%s", [result.escape(key)]),
		"subject": input.facts.name,
		"key": key,
	})
}

_has(key) if trim_space(input.facts.metadata[key]) != ""
