# METADATA
# description: |
#   Whether a section of the configuration is whole. An unknown section is not, and neither is an unknown key in
#   one: a slip in writing must not look like a rule that has nothing to object to.
package dataspine.lib.settings

import data.dataspine.lib.durations

# METADATA
# description: Whether a section is one that rules read, and is what they expect.
is_whole("retention", section) if {
	object.keys(section) == {"maximum"}
	is_object(section.maximum)
	every maximum in section.maximum {
		durations.is_valid(maximum)
	}
}

is_whole("subjects", section) if {
	object.keys(section) == {"pattern"}
	regex.is_valid(section.pattern)
}

is_whole("metadata", section) if {
	object.keys(section) == {"required"}
	is_array(section.required)
	_are_texts(section.required)
}

is_whole("access", section) if {
	object.keys(section) - {"roles"} == {"grants"}
	every principals in object.get(section, "roles", {}) {
		is_array(principals)
		_are_texts(principals)
	}
	is_array(section.grants)
	every grant in section.grants {
		_is_grant(grant)
	}
}

# A grant is to one principal or to one role; without resources it is for all.
_is_grant(grant) if {
	(object.keys(grant) - {"resources"}) in {{"permissions", "principal"}, {"permissions", "role"}}
	is_array(grant.permissions)
	_are_texts(grant.permissions)
	_are_texts([text | some key, text in grant; key != "permissions"])
}

_are_texts(texts) if {
	every text in texts {
		trim_space(text) != ""
	}
}
