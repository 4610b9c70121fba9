# METADATA
# description: One entry point per enforcement point. What is no question for the point is refused.
package dataspine.main

import data.dataspine.lib.decision

# METADATA
# title: May this version of a schema be published?
# entrypoint: true
schema_publish := decision.answer if {
	input.point == "schema.publish"
} else := decision.refusal("schema.publish")

# METADATA
# title: May this CDC route be deployed?
# entrypoint: true
route_deploy := decision.answer if {
	input.point == "route.deploy"
} else := decision.refusal("route.deploy")

# METADATA
# title: May this row go to this sink?
# entrypoint: true
row_replicate := decision.answer if {
	input.point == "row.replicate"
} else := decision.refusal("row.replicate")

# METADATA
# title: May these dead letters be replayed?
# entrypoint: true
dead_letter_replay := decision.answer if {
	input.point == "dead_letter.replay"
} else := decision.refusal("dead_letter.replay")

# METADATA
# title: May this bundle enter this channel?
# entrypoint: true
bundle_promote := decision.answer if {
	input.point == "bundle.promote"
} else := decision.refusal("bundle.promote")

# METADATA
# title: May this principal do this?
# entrypoint: true
api_access := decision.answer if {
	input.point == "api.access"
} else := decision.refusal("api.access")
