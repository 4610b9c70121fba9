package dataspine.rules.contract.incompatible_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.contract.incompatible

test_compatible_version_passes if incompatible.deny == set() with input as fixture.schema([])

test_incompatible_version_is_denied if {
	incompatible.deny == {{
		"code": "contract.incompatible",
		"severity": "error",
		"message": "shop.customers is not BACKWARD compatible: /fields/0: no default, /fields/1: type, /fields/2: gone",
		"path": "/facts/compatibility/compatible",
		"remediation": "Give new fields a default, keep the types of old ones, or publish under a new subject.",
		"controls": ["SOC2-CC8.1"],
	}} with input as fixture.changed(fixture.schema([]), "/facts/compatibility", {
		"level": "BACKWARD",
		"compatible": false,
		"messages": ["/fields/0: no default", "/fields/1: type", "/fields/2: gone", "/fields/3: one too many"],
	})
}

test_only_true_is_compatible[note] if {
	some note, value in {"null": null, "text": "true", "number": 1}
	question := fixture.changed(fixture.schema([]), "/facts/compatibility/compatible", value)
	count(incompatible.deny) == 1 with input as question
}

test_undefined_input_is_no_question if incompatible.deny == set() with input as {}
