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
