import pytest

from dataspine.core.clock import parse_rfc3339, rfc3339
from dataspine.core.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-23",
        "2026-11-23T09:00:00",
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
    ],
)
def test_what_is_no_time_in_utc_is_refused(text: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_rfc3339(text, where="/at")
    assert (raised.value.where, raised.value.problem) == (
        "/at",
        f"{text!r} is no RFC 3339 time with an offset",
    )


def test_a_time_is_told_in_utc() -> None:
    assert rfc3339(parse_rfc3339("2026-11-23T09:00:00+01:00")) == "2026-11-23T08:00:00Z"
