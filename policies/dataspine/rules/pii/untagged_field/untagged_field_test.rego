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
	}} with input as fixture.schema([_named("email", ["email"], [])])
}

test_personal_words_are_found[note] if {
	some note, case in {
		"camel case": [["email", "address", "emailaddress"], [], "e-mail address"],
		"first name": [["first", "name", "firstname"], [], "name of a person"],
		"name beside": [["customer", "name", "customername"], [], "name of a person, as customer suggests"],
		"name around": [["name"], ["customer"], "name of a person, as customer suggests"],
		"birth": [["birth", "date", "birthdate"], [], "date of birth"],
		"street": [["street"], [], "street of an address"],
		"city of an address": [["city"], ["address"], "city of an address, as address suggests"],
		"iban": [["iban"], [], "bank account"],
		"ssn": [["ssn"], [], "social security number"],
		"phone": [["home", "phone", "homephone"], [], "telephone number"],
		"passport": [["passport", "no", "passportno"], [], "passport"],
		"post code": [["postal", "code", "postalcode"], [], "postal code"],
		"ip": [["ip", "address", "ipaddress"], [], "IP address"],
		"latitude": [["latitude"], [], "location of a person"],
		"card": [["card", "number", "cardnumber"], [], "payment card number"],
		"German compound": [["telefonprivatnummer"], [], "telephone number"],
		"French": [["prenom", "usage", "prenomusage"], [], "name of a person"],
		"Spanish": [["fecha", "nacimiento", "fechanacimiento"], [], "date of birth"],
		"Portuguese": [["cpf", "do", "socio"], [], "national identity number"],
		"number of a phone": [["number"], ["phone"], "part of a name or contact, as phone suggests"],
	}
	some violation in untagged_field.deny with input as fixture.schema([_named("x", case[0], case[1])])
	contains(violation.message, sprintf("(%s", [case[2]]))
}

test_false_friends_pass[note] if {
	some note, case in {
		"product name": [["product", "name", "productname"], []],
		"name of a product": [["name"], ["product"]],
		"name alone": [["name"], []],
		"file name": [["file", "name", "filename"], ["user"]],
		"ip version": [["ip", "version", "ipversion"], []],
		"email template": [["email", "template", "id", "emailtemplate", "templateid", "emailtemplateid"], []],
		"phone model": [["phone", "model", "phonemodel"], []],
		"phone of a shop": [["phone"], ["store"]],
		"url": [["web", "address", "webaddress"], []],
		"zip file": [["zip", "file", "zipfile"], []],
		"card brand": [["card", "brand", "cardbrand"], []],
	}
	untagged_field.deny == set() with input as fixture.schema([_named("x", case[0], case[1])])
}

test_settled_fields_pass[note] if {
	some note, change in {
		"tagged": {"tagged": true, "classifications": ["PII"]},
		"tagged twice": {"tagged": true, "classifications": ["Internal", "PCI"]},
		"tagged with a word of the matrix": {"tagged": true, "classifications": ["Payroll"]},
		"waived": {"waiver": {"reason": "a constant of the system"}},
		"tagged Public and waived": {"tagged": true, "waiver": {"reason": "a constant of the system"}},
		"classified as its record": {"classifications": ["PII"]},
		"flag": {"type": "boolean"},
		"record": {"type": "record"},
	}
	untagged_field.deny == set() with input as fixture.schema([object.union(_named("email", ["email"], []), change)])
}

test_public_and_internal_need_a_reason[note] if {
	some note, case in {
		"tagged Public": [{"tagged": true}, "Public"],
		"tagged Internal": [{"tagged": true, "classifications": ["Internal"]}, "Internal"],
		"tagged both": [{"tagged": true, "classifications": ["Public", "Internal"]}, "Internal and Public"],
		"Internal as its record": [{"classifications": ["Internal"]}, "Internal"],
		"blank reason": [{"tagged": true, "waiver": {"reason": " "}}, "Public"],
	}
	found := {violation.message |
		some violation in untagged_field.deny with input as fixture.schema([
			object.union(_named("email", ["email"], []), case[0]),
		])
	}
	found == {sprintf("email looks personal (e-mail address) and is only %s", [case[1]])}
}

test_a_tag_that_cannot_be_read_is_none[note] if {
	some note, classifications in {"nothing": [], "null": null, "text": "Internal"}
	found := {violation.message |
		some violation in untagged_field.deny with input as fixture.schema([
			object.union(_named("email", ["email"], []), {"tagged": null, "classifications": classifications}),
		])
	}
	found == {"email looks personal (e-mail address) and carries no classification"}
}

test_blank_waiver_waives_nothing[reason] if {
	some reason in ["", " ", null, 7]
	field := object.union(_named("email", ["email"], []), {"waiver": {"reason": reason}})
	count(untagged_field.deny) == 1 with input as fixture.schema([field])
}

test_undefined_input_is_no_question if untagged_field.deny == set() with input as {}

test_weights_decide[note] if {
	some note, case in {
		"under": [["weak"], [], "string", set()],
		"enough": [["strong"], [], "string", {"x looks personal (a word) and carries no classification"}],
		"raised": [
			["weak", "good", "slight", "none", "we"],
			["near", "faint", "level", "far"],
			"string",
			{"x looks personal (a word, as faint and good and near and slight suggests) and carries no classification"},
		],
		"lowered": [["strong", "bad"], [], "string", set()],
		"by the record": [["strong"], ["far"], "string", set()],
		"by the type": [["strong"], [], "int", set()],
		"own words are no others": [["strong", "on"], [], "string", {
			"x looks personal (a word) and carries no classification",
		}],
		"short name": [["stronger"], [], "string", set()],
		"compound": [["strongest"], [], "string", {"x looks personal (a word) and carries no classification"}],
		"first part of a compound": [
			["strongandheavy"],
			[],
			"string",
			{"x looks personal (a word) and carries no classification"},
		],
		"last part of a compound": [
			["largeandheavy"],
			[],
			"string",
			{"x looks personal (another word) and carries no classification"},
		],
		"not alone": [["strongest", "weak"], [], "string", set()],
	}
	field := object.union(_named("x", case[0], case[1]), {"type": case[2]})
	{violation.message | some violation in untagged_field.deny} == case[3] with input as fixture.schema([field])
		with data.dataspine.lexicon as _lexicon
}

_lexicon := {
	"threshold": 50,
	"compound": 9,
	"stems": "^strong|heavy$",
	"terms": {
		"weak": {"why": "a word", "weight": 30},
		"strong": {"why": "a word", "weight": 50},
		"heavy": {"why": "another word", "weight": 50},
	},
	"beside": {"good": 10, "bad": -1, "on": -50, "none": 0, "slight": 1, "we": 5},
	"around": {"near": 11, "far": -1, "faint": 1, "level": 0},
	"types": {"int": -1},
}

_named(path, tokens, context) := object.union(
	fixture.field,
	{"path": path, "tokens": tokens, "context": context},
)
