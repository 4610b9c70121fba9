package dataspine.rules.pii.unknown_classification_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.pii.unknown_classification

test_known_words_pass[note] if {
	some note, words in {"ours": ["PII", "PCI", "Restricted", "Internal", "Public"], "the matrix's": ["Payroll"]}
	_deny(words) == set()
}

test_unknown_word_is_denied[word] if {
	some word in ["pii", "Secret", ""]
	_deny(["PII", word]) == {{
		"code": "pii.unknown_classification",
		"severity": "error",
		"message": sprintf("id is classified %s, which is no classification", [word]),
		"path": "/facts/fields/0/classifications",
		"field": "id",
		"line": 4,
		"remediation": sprintf("Use PII, PCI, Restricted, Internal or Public, or add %s to the matrix.", [word]),
		"controls": ["GDPR-30"],
	}}
}

_deny(words) := violations if {
	field := object.union(fixture.field, {"classifications": words})
	violations := unknown_classification.deny with input as fixture.schema([field, fixture.field])
		with data.dataspine.matrix as fixture.changed(fixture.matrix, "/transfers/Payroll", {})
}

test_undefined_input_is_no_question if unknown_classification.deny == set() with input as {}
