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

test_a_glob_names_the_users_of_a_machine[note] if {
	some note, name in {"every user": "local:*@0990dcd9cbd0", "some": "local:ci-*@0990dcd9cbd0"}
	_may(_ci, {"principal": name, "permissions": ["*"]})
}

test_a_glob_names_nobody_else[note] if {
	some note, case in {
		"another machine": [_ci, "local:*@1111dcd9cbd0"],
		"no machine": [_ci, "local:*"],
		"a glob without local": [_ci, "*"],
		"a token's principal": [_ada, "local:*@0990dcd9cbd0"],
		"a glob over names": [_ada, "a*"],
		"an at sign within": [object.union(_ci, {"name": "local:x@0990dcd9cbd0@m"}), "local:*@m"],
	}
	not _may(case[0], {"principal": case[1], "permissions": ["*"]})
}

_ci := {"name": "local:ci-7@0990dcd9cbd0", "roles": [], "local": false}

test_nothing_configured_permits_nothing if {
	not access.is_permitted(_ada, "publish", "shop.eu.customers") with data.dataspine.config as {"rules": {}}
}

_may(principal, grant) if {
	access.is_permitted(principal, "publish", "shop.eu.customers") with data.dataspine.config as {"access": {
		"roles": {"publisher": ["ada"], "auditor": ["grace"]},
		"grants": [grant],
	}}
}
