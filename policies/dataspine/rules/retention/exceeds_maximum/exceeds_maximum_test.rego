package dataspine.rules.retention.exceeds_maximum_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.retention.exceeds_maximum

test_nothing_is_limited_by_default if _deny(["PII"], "P99Y", fixture.config) == set()

test_shorter_and_other_pass[note] if {
	some note, case in {
		"shorter": [["PII"], "P1Y"],
		"same": [["PII"], "P2Y"],
		"same in months": [["PII"], "P24M"],
		"in days": [["PII"], "P730D"],
		"other class": [["Internal"], "P9Y"],
	}
	_deny(case[0], case[1], _limited) == set()
}

test_longer_is_denied[retention] if {
	some retention in ["P3Y", "P25M", "P731D", "P2YT1H", "P105W", "PT17533H"]
	_deny(["Internal", "PII"], retention, _limited) == {_expected(retention)}
}

test_for_ever_is_denied[note] if {
	some note, retention in {"null": null, "number": 7}
	_deny(["PII"], retention, _limited) == {_expected("for ever")}
}

_limited := {"rules": {}, "retention": {"maximum": {"PII": "P2Y"}}}

_deny(classifications, retention, config) := violations if {
	field := object.union(fixture.field, {"classifications": classifications, "retention": retention})
	violations := exceeds_maximum.deny with input as fixture.schema([field])
		with data.dataspine.config as config
}

_expected(retention) := {
	"code": "retention.exceeds_maximum",
	"severity": "error",
	"message": sprintf("id is PII and kept %s; P2Y is the longest", [retention]),
	"path": "/facts/fields/0/retention",
	"field": "id",
	"line": 4,
	"remediation": "Shorten the retention of id to P2Y or less.",
	"controls": ["GDPR-5.1.e"],
}

test_undefined_input_is_no_question if exceeds_maximum.deny == set() with input as {}
