# METADATA
# description: Waivers of single fields, and when they end.
package dataspine.lib.waivers

# METADATA
# description: Whether a waiver holds at that time; one without an end does.
is_running(waiver, _) if waiver.until == null

is_running(waiver, at) if time.parse_rfc3339_ns(at) < _end(waiver)

# METADATA
# description: The moments at which a waiver of the question ends, in nanoseconds.
boundaries contains _end(field.waiver) if {
	some field in input.facts.fields
}

_end(waiver) := time.parse_ns("2006-01-02", waiver.until)
