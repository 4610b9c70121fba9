package dataspine.rules.residency.region_unknown_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.region_unknown

test_known_regions_pass if _deny(fixture.route) == set()

test_unknown_region_is_denied[what] if {
	some what, case in {
		"shop": ["/facts/sources/0/region", 2],
		"lake": ["/facts/sinks/0/region", 9],
		"the dead letter": ["/facts/dead_letter/region", 12],
	}
	_deny(fixture.changed(fixture.route, case[0], "mars-1")) == {{
		"code": "residency.region_unknown",
		"severity": "error",
		"message": sprintf("the region mars-1 of %s belongs to no geography of the matrix", [what]),
		"path": case[0],
		"line": case[1],
		"remediation": "Correct the region, or add it to the regions of its geography in the matrix.",
		"controls": ["GDPR-44"],
	}}
}

test_only_systems_are_places if {
	region_unknown.deny == set() with input as fixture.changed(fixture.route, "/facts/tables/0/region", "mars-1")
		with data.dataspine.matrix as fixture.matrix
}

test_undefined_input_is_no_question if _deny({}) == set()

_deny(question) := violations if {
	violations := region_unknown.deny with input as question with data.dataspine.matrix as fixture.matrix
}
