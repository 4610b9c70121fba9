package dataspine.lib.waivers_test

import data.dataspine.lib.waivers

test_a_waiver_runs_until_its_day_begins if {
	running := {until |
		some until in [null, "2026-11-25", "2026-11-24", "2020-01-01", "soon", "", 7]
		waivers.is_running({"until": until}, "2026-11-24T00:00:00Z")
	}
	running == {null, "2026-11-25"}
}

test_a_waiver_that_does_not_say_until_when_never_runs if not waivers.is_running({}, "2026-11-24T00:00:00Z")

test_dated_waivers_are_boundaries if {
	fields := [{"waiver": null}, {}, {"waiver": {"until": null}}, {"waiver": {"until": "1970-01-02"}}]
	waivers.boundaries == {86400000000000} with input as {"facts": {"fields": fields}}
}
