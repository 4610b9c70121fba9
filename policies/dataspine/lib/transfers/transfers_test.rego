package dataspine.lib.transfers_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.lib.transfers

_ends := "2027-03-31T00:00:00Z"

_mask(method) := {"type": "mask", "method": method}

_basis := {"name": "SCC", "until": _ends}

_sink(region, masks) := {"region": region, "masks": masks}

_masked := _sink("us-east-1", {"customers.email": "hmac"})

_email(classifications) := {"path": "email", "classifications": classifications}

test_a_region_belongs_to_a_geography if {
	found := [transfers.geography(region) | some region in ["eu-north-1", "us-east-1", "DE", "mars-1", null]]
		with data.dataspine.matrix as fixture.matrix
	found == ["EU", "US", "unknown", "unknown", "unknown"]
}

test_the_most_specific_entry_is_found[note] if {
	some note, case in {
		"own": ["PII", "EU", "EU", {"allow": true}],
		"dated": ["PII", "EU", "US", {"allow": true, "basis": _basis, "obligations": [_mask("hmac")]}],
		"any home": ["Public", "US", "BR", {"allow": true}],
		"home before any": ["Public", "BR", "BR", {"allow": true, "obligations": [_mask("null")]}],
		"home nobody knows": ["Public", "MARS", "EU", {"allow": false}],
		"any as a home": ["Public", "*", "MARS", {"allow": false}],
		"no home": ["PII", "BR", "EU", {"allow": false}],
		"no target": ["Public", "EU", "MARS", {"allow": false}],
		"no classification": ["Odd", "EU", "EU", {"allow": false}],
	}
	matrix := fixture.changed(fixture.matrix, "/transfers/Public/BR", {"BR": {
		"allow": true,
		"obligations": [_mask("null")],
	}})
	found := transfers.entry(case[0], case[1], case[2]) with data.dataspine.matrix as matrix
	found == case[3]
}

test_a_transfer_is_allowed_while_its_basis_holds if {
	_allowed(fixture.matrix, ["2027-03-30T23:59:59Z", _ends, "now"]) == ["2027-03-30T23:59:59Z"]
	_allowed(fixture.changed(fixture.matrix, "/transfers/PII/EU/US/allow", false), [fixture.at]) == []
	_allowed(fixture.changed(fixture.matrix, "/transfers/PII/EU/US/basis", {}), [fixture.at]) == []
	_allowed(fixture.changed(fixture.matrix, "/transfers/PII/EU/US", {"allow": true}), ["now"]) == ["now"]
}

_allowed(matrix, times) := found if {
	found := [at | some at in times; transfers.is_allowed("PII", "EU", "US", at)] with data.dataspine.matrix as matrix
}

test_every_classification_obliges if {
	owed := transfers.owed(_email(["PII", "PCI", "Public"]), "EU", "US") with data.dataspine.matrix as fixture.matrix
	owed == {_mask("hmac"), _mask("last4")}
}

test_what_the_sink_does_not_do_is_unmet[note] if {
	some note, case in {
		"masked": [["PII"], _masked, set()],
		"not masked": [["PII"], _sink("us-east-1", {}), {_mask("hmac")}],
		"another method": [["PII"], _sink("us-east-1", {"customers.email": "last4"}), {_mask("hmac")}],
		"another column": [["PII"], _sink("us-east-1", {"customers.phone": "hmac"}), {_mask("hmac")}],
		"one of two": [["PII", "PCI"], _masked, {_mask("last4")}],
		"nothing owed there": [["PII"], _sink("eu-west-1", {}), set()],
	}
	unmet := transfers.unmet(_email(case[0]), "EU", "customers", case[1]) with data.dataspine.matrix as fixture.matrix
	unmet == case[2]
}

test_an_obligation_of_an_unknown_type_is_never_done if {
	owed := {"type": "bless", "method": "hmac"}
	matrix := fixture.changed(fixture.matrix, "/transfers/PII/EU/US/obligations", [owed])
	unmet := transfers.unmet(_email(["PII"]), "EU", "customers", _masked) with data.dataspine.matrix as matrix
	unmet == {owed}
}

test_homes_are_clear_when_every_column_is[note] if {
	some note, case in {
		"allowed": [["PII"], "allowed", _masked, {"EU", "US"}],
		"listed": [["PII"], ["EU", "BR", "MARS"], _masked, {"EU"}],
		"none": [["PII"], [], _masked, set()],
		"not masked": [["PII"], "allowed", _sink("us-east-1", {}), {"US"}],
		"stricter": [["PII", "PCI"], "allowed", _masked, set()],
		"public": [["Public"], "allowed", _masked, {"EU", "US", "BR"}],
		"no region": [["Public"], "allowed", _sink("mars-1", {}), set()],
	}
	columns := [_email(case[0]), fixture.column("country", ["Public"])]
	clear := transfers.clear_homes("customers", columns, case[1], case[2], fixture.at)
		with data.dataspine.matrix as fixture.matrix
	clear == case[3]
}

test_each_end_of_a_basis_is_a_boundary if {
	transfers.boundaries == {1806451200000000000} with data.dataspine.matrix as fixture.matrix
}

test_geographies_are_those_of_the_matrix if {
	transfers.geographies == {"EU", "US", "BR"} with data.dataspine.matrix as fixture.matrix
}
