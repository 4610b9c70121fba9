"""What people read, where nobody says how wide it may be."""

import pytest

from dataspine.cli.output import Output


def test_pipe_gets_whole_cells_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code, decision = "residency.home_not_allowed", "d" * 36
    output = Output()
    output.table(("id", "codes", "decision"), [(1, code, decision), (22, "x" * 200, decision)])
    output.facts({"codes": "y" * 300})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        f"id  {'codes':200}  decision",
        f"1   {code:200}  {decision}",
        f"22  {'x' * 200}  {decision}",
        f"  codes  {'y' * 300}",
    ]
