"""One adapter per enforcement point: translate, ask, act and record."""
