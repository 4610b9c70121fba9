package dataspine.rules.access.not_permitted_test

import data.dataspine.lib.fixture_test as fixture
import data.dataspine.rules.access.not_permitted

test_local_user_may_do_everything[point] if {
	some point, question in {
		"api": fixture.changed(fixture.access, "/facts/local", true),
		"replay": fixture.replay,
	}
	_deny(question, fixture.config) == set()
}

test_granted_may[note] if {
	some note, grant in {
		"by name": {"principal": "grace", "permissions": ["publish"]},
		"by role": {"role": "engineer", "permissions": ["erase", "publish"]},
		"by configured role": {"role": "publisher", "permissions": ["publish"]},
		"everything": {"principal": "grace", "permissions": ["*"], "resources": "**"},
		"some resources": {"principal": "grace", "permissions": ["publish"], "resources": "shop.*"},
	}
	_deny(fixture.access, _granted(grant)) == set()
}

test_others_may_not[note] if {
	some note, config in {
		"no configuration": fixture.config,
		"another name": _granted({"principal": "ada", "permissions": ["*"]}),
		"another role": _granted({"role": "auditor", "permissions": ["*"]}),
		"another permission": _granted({"principal": "grace", "permissions": ["read"]}),
		"another resource": _granted({"principal": "grace", "permissions": ["*"], "resources": "bank.**"}),
		"deeper": _granted({"principal": "grace", "permissions": ["*"], "resources": "*"}),
	}
	_deny(fixture.access, config) == {{
		"code": "access.not_permitted",
		"severity": "error",
		"message": "grace may not publish shop.customers",
		"path": "/facts/permission",
		"remediation": "Ask for `publish` on shop.customers: a grant under `access.grants` in spine.yaml.",
		"controls": ["SOC2-CC6.1", "SOC2-CC6.3", "GDPR-32"],
	}}
}

test_replay_is_a_permission if {
	question := fixture.changed(fixture.replay, "/facts/actor/local", false)
	_deny(question, fixture.config) == {{
		"code": "access.not_permitted",
		"severity": "error",
		"message": "ada may not replay shop.route",
		"path": "/facts/actor",
		"remediation": "Ask for `replay` on shop.route: a grant under `access.grants` in spine.yaml.",
		"controls": ["SOC2-CC6.1", "SOC2-CC6.3", "GDPR-32"],
	}}
	_deny(question, _granted({"principal": "ada", "permissions": ["replay"], "resources": "shop.route"})) == set()
}

_granted(grant) := {"rules": {}, "access": {"roles": {"publisher": ["grace"]}, "grants": [grant]}}

_deny(question, config) := violations if {
	violations := not_permitted.deny with input as question with data.dataspine.config as config
}

test_undefined_input_is_no_question if not_permitted.deny == set() with input as {}
