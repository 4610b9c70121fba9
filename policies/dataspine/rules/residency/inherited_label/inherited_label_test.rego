package dataspine.rules.residency.inherited_label_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.inherited_label

test_agreeing_labels_pass[note] if {
	some note, inherited in {
		"none": [],
		"same": [{"classification": "PII", "from": "crm.people.mail"}],
		"public": [{"classification": "Public", "from": "crm.people.id"}],
	}
	inherited_label.deny == set() with input as _inheriting(fixture.route, inherited)
}

test_no_lineage_passes if inherited_label.deny == set() with input as fixture.route

test_untold_label_is_denied[point] if {
	some point, question in {"route": fixture.route, "replay": fixture.replay}
	inherited_label.deny == {{
		"code": "residency.inherited_label",
		"severity": "error",
		"message": "customers.email comes from bank.cards.number, which is PCI, and is not classified so",
		"path": "/facts/tables/0/columns/0",
		"field": "email",
		"line": 7,
		"remediation": "Tag email as PCI in its subject, or mask it where it is computed.",
		"controls": ["GDPR-25", "GDPR-30"],
	}} with input as _inheriting(question, [{"classification": "PCI", "from": "bank.cards.number"}])
}

_inheriting(question, inherited) := fixture.changed(question, "/facts/tables/0/columns/0/inherited", inherited)

test_undefined_input_is_no_question if inherited_label.deny == set() with input as {}
