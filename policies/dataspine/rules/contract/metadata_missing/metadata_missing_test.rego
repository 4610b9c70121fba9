package dataspine.rules.contract.metadata_missing_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.contract.metadata_missing

test_nothing_is_asked_for_by_default if metadata_missing.deny == set() with input as fixture.schema([])
	with data.dataspine.config as fixture.config

test_metadata_passes if metadata_missing.deny == set() with input as fixture.schema([])
	with data.dataspine.config as _asked(["owner"])

test_missing_metadata_warns[note] if {
	some note, value in {"null": null, "blank": " ", "number": 7}
	question := fixture.changed(fixture.schema([]), "/facts/metadata/domain~1x", value)
	metadata_missing.deny == _expected with input as question
		with data.dataspine.config as _asked(["owner", "domain/x"])
}

test_absent_metadata_warns if metadata_missing.deny == _expected with input as fixture.schema([])
	with data.dataspine.config as _asked(["owner", "domain/x"])

_asked(keys) := {"rules": {}, "metadata": {"required": keys}}

_expected := {{
	"code": "contract.metadata_missing",
	"severity": "warn",
	"message": "shop.customers has no metadata `domain/x`",
	"path": "/facts/metadata/domain~1x",
	"remediation": "Add it to the metadata, for example `--meta domain/x=…`.",
	"controls": ["SOC2-CC2.1"],
}}

test_undefined_input_is_no_question if metadata_missing.deny == set() with input as {}
