# METADATA
# description: ISO 8601 durations, compared.
package dataspine.lib.durations

# METADATA
# description: |
#   The seconds of a duration such as P90D, P2Y6M or PT12H; undefined for what is none. A year is the Gregorian
#   mean, a month its twelfth, so that P12M is P1Y.
seconds(text) := sum([size |
	some i, unit in [31556952, 2629746, 604800, 86400, 3600]
	size := to_number(_numbers(text)[i]) * unit # undefined for ""
]) if {
	is_valid(text)
}

# METADATA
# description: Whether a text is a duration of at least one part.
is_valid(text) if {
	some number in _numbers(text)
	number != ""
}

# Years, months, weeks, days and hours as they are written; "" for each that is not.
_numbers(text) := array.slice(regex.find_all_string_submatch_n(_pattern, text, 1)[0], 1, 6)

_pattern := `^P(?:([0-9]{1,6})Y)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T([0-9]{1,6})H)?$`
