package dataspine.rules.contract.subject_name_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.contract.subject_name

test_any_name_passes_without_a_pattern if subject_name.deny == set() with input as fixture.schema([])
	with data.dataspine.config as fixture.config

test_fitting_name_passes if subject_name.deny == set() with input as fixture.schema([])
	with data.dataspine.config as _named(`shop\.[a-z]+`)

test_other_name_is_denied[pattern] if {
	some pattern in ["shop", `customers`, "shop|bank", "["]
	subject_name.deny == {{
		"code": "contract.subject_name",
		"severity": "error",
		"message": sprintf("the subject shop.customers does not match %s", [pattern]),
		"path": "/facts/name",
		"remediation": "Rename the subject, or change `subjects.pattern` in spine.yaml.",
		"controls": ["SOC2-CC2.1"],
	}} with input as fixture.schema([])
		with data.dataspine.config as _named(pattern)
}

_named(pattern) := {"rules": {}, "subjects": {"pattern": pattern}}

test_undefined_input_is_no_question if subject_name.deny == set() with input as {}
