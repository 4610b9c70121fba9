"""``spine serve``: HTTP in front of the same functions that the command line calls."""
