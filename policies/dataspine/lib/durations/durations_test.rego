package dataspine.lib.durations_test

import data.dataspine.lib.durations

test_durations_have_seconds if {
	texts := ["P1Y", "P1M", "P1W", "P1D", "PT1H", "P2Y3M4W5DT6H", "P12M", "P0D", "P123456D"]
	{text: durations.seconds(text) | some text in texts} == {
		"P1Y": 31556952,
		"P1M": 2629746,
		"P1W": 604800,
		"P1D": 86400,
		"PT1H": 3600,
		"P2Y3M4W5DT6H": 73875942,
		"P12M": 31556952,
		"P0D": 0,
		"P123456D": 10666598400,
	}
}

test_other_texts_are_no_durations if {
	texts := ["", "P", "PT", "1Y", "P1X", "P1H", "P-1D", "P1.5Y", "P1Y ", " P1Y", "P1234567D", "P1D1Y", "P1M1Y", null, 7]
	{text | some text in texts; durations.is_valid(text)} == set()
	{text | some text in texts; durations.seconds(text)} == set()
}

test_one_part_is_enough if {
	texts := {"P1Y", "P1M", "P1W", "P1D", "PT1H"}
	{text | some text in texts; durations.is_valid(text)} == texts
}
