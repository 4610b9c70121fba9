package dataspine.lib.settings_test

import data.dataspine.lib.settings

_grant := {"permissions": ["publish"], "role": "engineer"}

test_whole_sections_are_whole[note] if {
	some note, case in {
		"retention": ["retention", {"maximum": {"PII": "P2Y", "PCI": "PT1H"}}],
		"retention of nothing": ["retention", {"maximum": {}}],
		"subjects": ["subjects", {"pattern": `shop\..+`}],
		"metadata": ["metadata", {"required": ["owner", "domain"]}],
		"metadata of nothing": ["metadata", {"required": []}],
		"access": ["access", {"roles": {"engineer": ["ada"]}, "grants": [_grant, {"permissions": ["*"], "principal": "a"}]}],
		"access without roles": ["access", {"grants": [object.union(_grant, {"resources": "shop.**"})]}],
		"access of nobody": ["access", {"grants": []}],
	}
	settings.is_whole(case[0], case[1])
}

test_other_sections_are_not[note] if {
	some note, case in {
		"unknown": ["rule", {}],
		"unknown with a known shape": ["subject", {"pattern": "a"}],
		"retention none": ["retention", null],
		"retention without maximum": ["retention", {}],
		"retention more": ["retention", {"maximum": {}, "minimum": {}}],
		"retention text": ["retention", {"maximum": "P1Y"}],
		"retention list": ["retention", {"maximum": ["P1Y"]}],
		"retention of no duration": ["retention", {"maximum": {"PCI": "P1Y", "PII": "2 years"}}],
		"subjects none": ["subjects", null],
		"subjects without pattern": ["subjects", {}],
		"subjects more": ["subjects", {"pattern": "a", "patterns": []}],
		"subjects of no pattern": ["subjects", {"pattern": "["}],
		"subjects of a number": ["subjects", {"pattern": 7}],
		"metadata none": ["metadata", null],
		"metadata more": ["metadata", {"required": [], "asked": []}],
		"metadata object": ["metadata", {"required": {"a": "b"}}],
		"metadata text": ["metadata", {"required": "owner"}],
		"metadata blank": ["metadata", {"required": ["owner", " "]}],
		"metadata number": ["metadata", {"required": [7]}],
		"access none": ["access", null],
		"access without grants": ["access", {"roles": {}}],
		"access more": ["access", {"grants": [], "deny": []}],
		"roles of an object": ["access", {"roles": {"a": {"b": "c"}}, "grants": []}],
		"roles of a text": ["access", {"roles": {"a": "b"}, "grants": []}],
		"roles of a blank": ["access", {"roles": {"a": [" "]}, "grants": []}],
		"grants object": ["access", {"grants": {"a": _grant}}],
		"grants text": ["access", {"grants": "a"}],
		"grant to nobody": ["access", {"grants": [{"permissions": ["*"]}]}],
		"grant to two": ["access", {"grants": [object.union(_grant, {"principal": "a"})]}],
		"grant to a blank": ["access", {"grants": [_grant, {"permissions": ["*"], "principal": " "}]}],
		"grant to a number": ["access", {"grants": [{"permissions": ["*"], "role": 7}]}],
		"grant of nothing known": ["access", {"grants": [object.union(_grant, {"permission": "a"})]}],
		"grant of a text": ["access", {"grants": [object.union(_grant, {"permissions": "*"})]}],
		"grant of an object": ["access", {"grants": [{"permissions": {"a": "*"}, "principal": "a"}]}],
		"grant of a blank": ["access", {"grants": [object.union(_grant, {"permissions": [" "]})]}],
		"grant on a number": ["access", {"grants": [object.union(_grant, {"resources": 7})]}],
		"grant on a blank": ["access", {"grants": [object.union(_grant, {"resources": ""})]}],
	}
	not settings.is_whole(case[0], case[1])
}
