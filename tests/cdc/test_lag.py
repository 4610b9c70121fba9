"""Lag: per record, windowed, and honest when nothing moves."""

from dataspine.cdc.lag import Lag, LagWindow


def test_percentiles_weigh_records() -> None:
    window = LagWindow()
    window.applied(100.0, 101.0, 94)
    window.applied(95.0, 101.0, 6)
    assert window.read(101.0) == Lag(p50=1.0, p95=6.0, records=100, skewed=False)


def test_samples_leave_after_five_minutes() -> None:
    window = LagWindow()
    window.applied(0.0, 50.0, 1)
    window.applied(299.0, 300.0, 1)
    assert window.read(351.0) == Lag(p50=1.0, p95=1.0, records=1, skewed=False)


def test_stuck_route_is_as_late_as_its_oldest_commit() -> None:
    window = LagWindow()
    window.applied(99.0, 100.0, 10)
    window.waiting("shop", 100.0)
    assert window.read(190.0).p95 == 90.0
    window.waiting("shop", None)
    assert window.read(190.0).p95 == 1.0


def test_clock_skew_is_shown_and_not_hidden() -> None:
    window = LagWindow()
    window.applied(101.0, 100.0, 1)
    assert window.read(100.0) == Lag(p50=-1.0, p95=-1.0, records=1, skewed=True)
