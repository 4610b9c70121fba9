package dataspine.lib.config_test

import data.dataspine.lib.config

test_a_code_is_configured_before_its_domain[note] if {
	some note, case in {
		"code": [{"pii.odd": "warn", "pii": "ignore"}, "warn"],
		"domain": [{"pii": "ignore", "pii.even": "warn", "odd": "warn"}, "ignore"],
		"neither": [{"shop": "ignore"}, "error"],
	}
	severity := config.severity("pii.odd", "error") with data.dataspine.config as {"rules": case[0]}
	severity == case[1]
}

_read := [config.required_metadata, {pattern | pattern := config.subject_pattern}, config.maximum_retention]

test_sections_are_read_from_the_configuration if {
	_read == [["domain"], {"shop"}, {"PII": "P1Y"}] with data.dataspine.config as {
		"rules": {},
		"metadata": {"required": ["domain"]},
		"subjects": {"pattern": "shop"},
		"retention": {"maximum": {"PII": "P1Y"}},
	}
}

test_what_is_not_configured_asks_for_nothing if {
	_read == [[], set(), {}] with data.dataspine.config as {"rules": {}}
}
