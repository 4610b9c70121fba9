package dataspine.rules.pii.untagged_field_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.pii.untagged_field

test_untagged_email_is_denied if {
	untagged_field.deny == {{
		"code": "pii.untagged_field",
		"severity": "error",
		"message": "email looks personal (e-mail address) and carries no classification",
		"path": "/facts/fields/0",
		"field": "email",
		"line": 4,
		"remediation": "Tag email, for example [pii], or waive it with a reason: [not-pii: <why>].",
		"controls": ["GDPR-30", "SOC2-CC6.1"],
	}} with input as fixture.schema([_named("email", ["email"])])
}

test_personal_words_are_found[note] if {
	some note, case in {
		"camel case": [["email", "address"], "e-mail address"],
		"first name": [["first", "name"], "name of a person"],
		"context": [["customer", "name"], "name of a person"],
		"birth": [["birth", "date"], "date of birth"],
		"street": [["street"], "street of an address"],
		"iban": [["iban"], "bank account"],
		"ssn": [["ssn"], "social security number"],
		"phone": [["home", "phone"], "telephone number"],
		"passport": [["passport", "no"], "passport"],
		"post code": [["postal", "code"], "postal code"],
		"ip": [["ip", "address"], "IP address"],
		"latitude": [["latitude"], "location of a person"],
		"card": [["card", "number"], "payment card number"],
	}
	some violation in untagged_field.deny with input as fixture.schema([_named("x", case[0])])
	contains(violation.message, sprintf("(%s)", [case[1]]))
}

test_false_friends_pass[note] if {
	some note, tokens in {
		"product name": ["product", "name"],
		"file name": ["file", "name"],
		"ip version": ["ip", "version"],
		"email template": ["email", "template"],
		"phone model": ["phone", "model"],
		"url": ["web", "address"],
		"zip file": ["zip", "file"],
		"card brand": ["card", "brand"],
	}
	untagged_field.deny == set() with input as fixture.schema([_named("x", tokens)])
}

test_settled_fields_pass[note] if {
	some note, change in {
		"tagged": {"tagged": true, "classifications": ["PII"]},
		"tagged Public": {"tagged": true},
		"waived": {"waiver": {"reason": "a constant of the system"}},
		"flag": {"type": "boolean"},
	}
	untagged_field.deny == set() with input as fixture.schema([object.union(_named("email", ["email"]), change)])
}

test_blank_waiver_waives_nothing[reason] if {
	some reason in ["", " ", null, 7]
	field := object.union(_named("email", ["email"]), {"waiver": {"reason": reason}})
	count(untagged_field.deny) == 1 with input as fixture.schema([field])
}

test_malformed_lexicon_makes_nothing_harmless[note] if {
	some note, phrases in {
		"no list": 7,
		"no phrase": [7],
		"no words": [{"why": "x"}],
		"retyped": [{"with": 7, "unless": 7, "why": 7}],
	}
	count(untagged_field.deny) == 1 with input as fixture.schema([_named("email", ["email"])])
		with data.dataspine.lexicon.personal as {"email": phrases}
}

test_undefined_input_is_no_question if untagged_field.deny == set() with input as {}

_named(path, tokens) := object.union(fixture.field, {"path": path, "tokens": tokens})
