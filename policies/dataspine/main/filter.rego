package dataspine.main

import data.dataspine.lib.config
import data.dataspine.lib.decision
import data.dataspine.lib.exceptions
import data.dataspine.rules.residency

# METADATA
# title: May this row go to this sink, as a filter on the row alone
# description: |
#   Compiled by OPA into a predicate on the guard columns. True where the decision allows: every row rule holds
#   (`row_ok`), or does not deny now because its severity or a running exception says so.
# scope: document
# entrypoint: true
# compile:
#   unknowns: [input.row]
row_replicate_filter if {
	input.point == "row.replicate"
	decision.is_filter_question
	_passes_home_not_allowed
}

_passes_home_not_allowed if residency.home_not_allowed.row_ok

_passes_home_not_allowed if config.severity("residency.home_not_allowed", "error") in {"warn", "ignore"}

_passes_home_not_allowed if count(exceptions.running("residency.home_not_allowed", input.facts.name, input.at)) > 0
