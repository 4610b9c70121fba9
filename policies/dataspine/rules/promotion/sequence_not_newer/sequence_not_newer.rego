# METADATA
# title: A channel only goes forward
# description: |
#   A signature says nothing about freshness: an old bundle with known holes is validly signed. So a sequence only
#   grows. A rollback publishes the old content under a new sequence.
# labels:
#   controls: [SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{revision} has sequence {sequence}; {channel} is at {current}"
#   remediation: "Publish the content again under a sequence over {current}; to go back, run `spine bundle rollback`."
package dataspine.rules.promotion.sequence_not_newer

import data.dataspine.lib.result

# METADATA
# description: The candidate's sequence is not over that of the channel.
deny contains violation if {
	input.point == "bundle.promote"
	not _is_newer

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/candidate/sequence",
		"revision": input.facts.candidate.revision,
		"channel": input.facts.name,
		"sequence": input.facts.candidate.sequence,
		"current": _current,
	})
}

_is_newer if {
	input.facts.candidate.sequence > _current
}

# An empty channel is at 0, which is what a local build has: it enters no channel either.
_current := 0 if {
	is_null(input.facts.current)
} else := input.facts.current.sequence
