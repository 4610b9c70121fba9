# METADATA
# description: Dated exceptions. While one runs, the violation it names warns; afterwards it denies again.
package dataspine.lib.exceptions

# METADATA
# description: The violation as the exceptions for this subject or route leave it at that time.
apply(violation, name, at) := object.union(violation, {"severity": "warn", "exception": exception}) if {
	exception := running(violation.code, name, at)[0]
} else := violation

# METADATA
# description: The exceptions to a code that run for a name at that time, in the order of their file.
running(code, name, at) := [exception |
	some exception in data.dataspine.exceptions
	exception.rule == code
	glob.match(exception["applies-to"], ["."], name)
	time.parse_rfc3339_ns(at) < time.parse_rfc3339_ns(exception["effective-until"])
]

# METADATA
# description: The moments at which an exception ends, in nanoseconds.
boundaries contains time.parse_rfc3339_ns(exception["effective-until"]) if {
	some exception in data.dataspine.exceptions
}
