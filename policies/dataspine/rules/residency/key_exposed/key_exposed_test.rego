package dataspine.rules.residency.key_exposed_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.residency.key_exposed

test_keys_that_expose_nobody_pass[note] if {
	some note, change in {
		"masked": {"path": "email", "classifications": ["PII"]},
		"public": {"path": "id", "classifications": ["Public"]},
		"internal": {"path": "id", "classifications": ["Internal"]},
		"no key": {"path": "name", "classifications": ["PII"], "key": false},
	}
	key_exposed.deny == set() with input as _route(change, {"customers.email": "hmac"})
}

test_exposed_key_is_denied[note] if {
	some note, masks in {"no mask": {}, "keys become one": {"customers.email": "redact"}}
	key_exposed.deny == {{
		"code": "residency.key_exposed",
		"severity": "error",
		"message": "customers.email is a key, is PII, and reaches lake without a mask that keeps keys apart",
		"path": "/facts/sinks/0/masks",
		"field": "email",
		"line": 9,
		"remediation": "Add `customers.email: hmac` to the masks of lake, or choose a key that identifies nobody.",
		"controls": ["GDPR-17", "GDPR-32"],
	}} with input as _route({"path": "email", "classifications": ["PII", "Internal"]}, masks)
}

test_undefined_input_is_no_question if key_exposed.deny == set() with input as {}

_route(change, masks) := fixture.route_of(
	[object.union(fixture.table, {"columns": [object.union({"key": true, "line": 7}, change)]})],
	[{"name": "lake", "region": "us-east-1", "line": 9, "masks": masks}],
)
