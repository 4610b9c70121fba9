package dataspine.rules.residency.dead_letter_abroad_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.dead_letter_abroad

test_dead_letter_beside_its_source_passes if dead_letter_abroad.deny == set() with input as fixture.route

test_dead_letter_in_another_region_is_denied[region] if {
	some region in ["us-east-1", "eu-north-1"]
	dead_letter_abroad.deny == {{
		"code": "residency.dead_letter_abroad",
		"severity": "error",
		"message": sprintf("the dead letter is in %s, and the rows it parks come from shop in eu-west-1", [region]),
		"path": "/facts/dead_letter/region",
		"line": 12,
		"remediation": "Move the dead letter to eu-west-1, or give sources of other regions their own route.",
		"controls": ["GDPR-44"],
	}} with input as fixture.changed(fixture.route, "/facts/dead_letter/region", region)
}

test_every_source_counts if {
	second := {"name": "us", "region": "us-east-1", "line": 3}
	count(dead_letter_abroad.deny) == 1 with input as fixture.changed(fixture.route, "/facts/sources/1", second)
}

test_undefined_input_is_no_question if dead_letter_abroad.deny == set() with input as {}
