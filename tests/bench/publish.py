"""From a publication to its activation in a fleet of stock OPAs that follow one `spine serve`.

A bundle counts as active when the OPA's report of it has arrived: nobody asks them meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.integration.fleet import Control
from tests.sidecar import short_folder

from dataspine.bundles import BundleStore
from dataspine.core.clock import parse_rfc3339
from dataspine.decisions.program import find_opa

SIDECARS = 20
ROUNDS = 10
SECONDS = 60.0
RULE = "package dataspine.custom.bench.round\n\ndeny contains {0} if {0} == 0\n"
Row = tuple[str, str, str]


def measure(folder: Path) -> list[Row]:
    """Return rows of what was measured over some publications, one after the other."""
    folder.mkdir()
    control = Control(folder, find_opa().path)
    control.publish("stable")
    seconds: list[float] = []
    first: list[float] = []
    with control.served(), short_folder() as short, contextlib.ExitStack() as fleet:
        pids = [
            fleet.enter_context(control.sidecar(short, name, channel="stable")).process.pid
            for name in (f"opa-{number}" for number in range(SIDECARS))
        ]
        if control.process is None:
            raise SystemExit("the service does not run")
        service = control.process.pid
        list(_activated(control, 1))
        fleet_before, service_before = sum(map(_cpu, pids)), _cpu(service)
        for number in range(ROUNDS):
            control.publish("stable", RULE.format(number))
            with control.session() as session:
                published = _published(session.bundles, number + 2)
            waited = [(at - published).total_seconds() for at in _activated(control, number + 2)]
            first.append(min(waited))
            seconds += waited
        burned = sum(map(_cpu, pids)) - fleet_before
        served = _cpu(service) - service_before
    ordered = sorted(seconds)
    p50, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    cpu = burned / ROUNDS
    return [
        (
            f"published -> active in {SIDECARS} OPAs, {ROUNDS} times",
            f"p50 {p50:.2f}, p95 {p95:.2f}, max {ordered[-1]:.2f} s",
            "p95 < 1 s",
        ),
        ("  the first of them", f"p50 {sorted(first)[len(first) // 2]:.2f} s", ""),
        (
            "  CPU of OPA for a publication",
            f"{cpu * 1e3 / SIDECARS:.0f} ms each, {cpu:.1f} s together, on {os.cpu_count()} CPUs",
            "",
        ),
        ("  CPU of the service for it", f"{served / ROUNDS:.2f} s", ""),
    ]


def _published(bundles: BundleStore, sequence: int) -> datetime:
    (found,) = (each for each in bundles.history("stable") if each.sequence == sequence)
    return parse_rfc3339(found.published_at)


def _activated(control: Control, sequence: int) -> Iterator[datetime]:
    """Wait until every OPA has reported that a sequence is active, and yield since when it is."""
    end = time.monotonic() + SECONDS
    with control.session() as session:
        while True:
            rows = [each for each in session.fleet.instances() if each["sequence"] == sequence]
            if len(rows) == SIDECARS:
                break
            if time.monotonic() > end:
                problems = {each["error"] for each in session.fleet.instances()}
                raise SystemExit(f"{len(rows)} of {SIDECARS} OPAs decide by {sequence}: {problems}")
            time.sleep(0.2)
    for row in rows:
        yield parse_rfc3339(row["activated_at"])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
