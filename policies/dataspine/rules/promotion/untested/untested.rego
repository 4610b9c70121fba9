# METADATA
# title: Only tested rules are promoted
# description: A bundle brings the result of its tests. None, no test at all, or a failed one stops it.
# labels:
#   controls: [SOC2-CC8.1]
# custom:
#   severity: error
#   message: "{revision} is not tested: {passed} tests passed, {failed} failed"
#   remediation: Run `spine policy test`, correct what fails, and publish the bundle with its result.
package dataspine.rules.promotion.untested

import data.dataspine.lib.result

# METADATA
# description: The candidate's tests are missing, none, or not all passed.
deny contains violation if {
	input.point == "bundle.promote"
	not _is_tested

	violation := result.violation(rego.metadata.chain(), {
		"path": "/facts/candidate/tests",
		"revision": input.facts.candidate.revision,
		"passed": _number("passed"),
		"failed": _number("failed"),
	})
}

_is_tested if {
	input.facts.candidate.tests.passed > 0
	input.facts.candidate.tests.failed == 0
}

_number(key) := input.facts.candidate.tests[key]

_number(key) := 0 if not input.facts.candidate.tests[key]
