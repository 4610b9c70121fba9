package dataspine.rules.contract.owner_missing_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.contract.owner_missing

test_owner_passes if owner_missing.deny == set() with input as fixture.schema([])

test_unnamed_owner_warns[note] if {
	some note, metadata in {"missing": {}, "null": {"owner": null}, "blank": {"owner": " "}, "number": {"owner": 7}}
	owner_missing.deny == {{
		"code": "contract.owner_missing",
		"severity": "warn",
		"message": "shop.customers names no owner",
		"path": "/facts/metadata/owner",
		"remediation": "Add `owner` to the metadata, or map the subject's prefix to a team under `owners` in spine.yaml.",
		"controls": ["SOC2-CC1.3"],
	}} with input as fixture.changed(fixture.schema([]), "/facts/metadata", metadata)
}

test_undefined_input_is_no_question if owner_missing.deny == set() with input as {}
