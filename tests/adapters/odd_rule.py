"""A rule of a workspace's own, with its test."""

RULE = """\
# METADATA
# title: A subject is even
# description: Odd subjects confuse.
# labels:
#   controls: [GDPR-5.2]
# custom:
#   severity: error
#   message: "{subject} is odd"
#   remediation: Choose another name.
package dataspine.custom.shop.odd

import data.dataspine.lib.result

# METADATA
# description: The name is odd.
deny contains violation if {
\tinput.point == "schema.publish"
\tinput.facts.name == "odd"

\tviolation := result.violation(rego.metadata.chain(), {
\t\t"path": "/facts/name",
\t\t"subject": input.facts.name,
\t})
}
"""
TEST = """\
package dataspine.custom.shop.odd_test

import data.dataspine.custom.shop.odd

test_odd if {
\tsome violation in odd.deny with input as _named("odd")
\tviolation.code == "shop.odd"
}

test_even if odd.deny == set() with input as _named("even")

_named(name) := {"point": "schema.publish", "facts": {"name": name}}
"""
