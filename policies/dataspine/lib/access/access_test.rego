package dataspine.lib.access_test

import data.dataspine.lib.access

_ada := {"name": "ada", "roles": ["engineer"], "local": false}

test_the_local_user_may_do_everything if access.is_permitted({"name": "x", "roles": [], "local": true}, "erase", "a.b")

test_only_true_is_local[local] if {
	some local in [false, null, "true", 1]
	not _may({"name": "ada", "roles": [], "local": local}, {"principal": "grace", "permissions": ["*"]})
}

test_a_grant_permits[note] if {
	some note, grant in {
		"a name": {"principal": "ada", "permissions": ["erase", "publish"]},
		"a role": {"role": "engineer", "permissions": ["publish"]},
		"a configured role": {"role": "publisher", "permissions": ["publish"]},
		"everything": {"principal": "ada", "permissions": ["*"]},
		"below": {"principal": "ada", "permissions": ["publish"], "resources": "shop.**"},
		"one level": {"principal": "ada", "permissions": ["publish"], "resources": "shop.*.customers"},
	}
	_may(_ada, grant)
}

test_another_grant_does_not[note] if {
	some note, grant in {
		"another name": {"principal": "grace", "permissions": ["*"]},
		"a name as role": {"role": "ada", "permissions": ["*"]},
		"another configured role": {"role": "auditor", "permissions": ["*"]},
		"another permission": {"principal": "ada", "permissions": ["erase"]},
		"another resource": {"principal": "ada", "permissions": ["*"], "resources": "bank.**"},
		"a level less": {"principal": "ada", "permissions": ["*"], "resources": "shop.*"},
	}
	not _may(_ada, grant)
}

test_nothing_configured_permits_nothing if {
	not access.is_permitted(_ada, "publish", "shop.eu.customers") with data.dataspine.config as {"rules": {}}
}

_may(principal, grant) if {
	access.is_permitted(principal, "publish", "shop.eu.customers") with data.dataspine.config as {"access": {
		"roles": {"publisher": ["ada"], "auditor": ["grace"]},
		"grants": [grant],
	}}
}
