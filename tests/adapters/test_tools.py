"""The wrappers of OPA, regal and conftest, over the real programs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from dataspine.adapters.doctor import examine
from dataspine.adapters.tools.opa import Answered, Case, Opa
from dataspine.adapters.tools.program import MAX_OUTPUT, Diagnostic, Run, find_program, run
from dataspine.adapters.tools.regal import Regal
from dataspine.core.errors import DataSpineError, InputError, UnavailableError

RULE = """\
# METADATA
# description: Of a shop.
package dataspine.custom.shop.odd

deny contains "odd" if input.facts.name == "odd"

never if {
\tinput.facts.name == "x"
\tinput.facts.name == "y"
}
"""
TEST = """\
package dataspine.custom.shop.odd_test

import data.dataspine.custom.shop.odd

test_odd if odd.deny == {"odd"} with input as {"facts": {"name": "odd"}}

test_cases[note] if {
\tsome note, name in {"even": "even", "odd": "odd"}
\todd.deny == set() with input as {"facts": {"name": name}}
}
"""


def _program(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestRun:
    def test_status_and_both_outputs_are_told(self, tmp_path: Path) -> None:
        program = _program(tmp_path, "cat; echo bad >&2; exit 3")

        assert run([program], stdin=b"given", seconds=10) == Run(3, "given", "bad\n")

    def test_a_program_that_hangs_is_killed_with_its_children(self, tmp_path: Path) -> None:
        program = _program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
        begun = time.monotonic()

        with pytest.raises(UnavailableError) as raised:
            run([program], seconds=0.5)

        assert raised.value.code == "tool.program_failed"
        assert raised.value.problem == "no answer within 0.5 s"
        assert time.monotonic() - begun < 30
        child = int((tmp_path / "child").read_text())
        # The signal to the group is sent; the kernel ends a grandchild in its own time.
        end = time.monotonic() + 10
        while _is_running(child) and time.monotonic() < end:
            time.sleep(0.01)
        assert not _is_running(child)

    def test_endless_output_is_refused(self, tmp_path: Path) -> None:
        program = _program(tmp_path, f"head -c {MAX_OUTPUT + 1} /dev/zero")

        with pytest.raises(UnavailableError, match="it says too much"):
            run([program], seconds=30)

    def test_what_cannot_be_run_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError) as raised:
            run([tmp_path / "none"], seconds=1)

        assert raised.value.document() == {
            "code": "tool.none_failed",
            "problem": "No such file or directory",
            "where": "none",
            "remedy": "Run `spine doctor`.",
            "retry": True,
        }


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_program_is_found_by_name_then_on_path_then_in_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "data-spine/bin"
    cache.mkdir(parents=True)
    _program(cache, "").rename(cache / "regal")
    path = tmp_path / "bin"
    path.mkdir()
    _program(path, "").rename(path / "regal")
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": str(path), "SPINE_REGAL": "/named"}

    found = [find_program("regal", environment)]
    for gone in ("SPINE_REGAL", "PATH", "XDG_CACHE_HOME"):
        del environment[gone]
        environment.setdefault("HOME", str(tmp_path / "home"))
        found.append(find_program("regal", environment))

    assert found == [Path("/named"), path / "regal", cache / "regal", None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rule = tmp_path / "dataspine/custom/shop/odd"
    rule.mkdir(parents=True)
    (rule / "odd.rego").write_text(RULE)
    return tmp_path


ODD = "dataspine/custom/shop/odd/odd.rego"


@pytest.mark.integration
class TestOpa:
    def test_format_names_what_differs_or_does_not_parse(self, opa: Path, folder: Path) -> None:
        before = Opa(opa).unformatted(folder)
        (folder / "a.rego").write_text("package a\nx   := 1\n")
        (folder / "b.rego").write_text("package b\nx if {\n")

        assert before == ()
        # OPA stops at what it cannot parse.
        assert "b.rego" in Opa(opa).unformatted(folder)
        (folder / "b.rego").unlink()
        assert Opa(opa).unformatted(folder) == ("a.rego",)

    def test_check_names_the_line(self, opa: Path, folder: Path) -> None:
        schema = folder / "schema.json"
        facts = {"type": "object", "additionalProperties": False, "properties": {"title": {}}}
        schema.write_text(json.dumps({"type": "object", "properties": {"facts": facts}}))

        assert Opa(opa).check(folder) == ()
        found = Opa(opa).check(folder, [ODD], schema=schema)
        assert found[0] == Diagnostic("undefined ref: input.facts.name", ODD, 5, "rego_type_error")

    def test_annotations_carry_path_and_place(self, opa: Path, folder: Path) -> None:
        (found,) = Opa(opa).annotations(folder)

        assert found.path == ("dataspine", "custom", "shop", "odd")
        assert found.words == {"scope": "package", "description": "Of a shop."}
        assert (found.file, found.line) == (ODD, 3)

    def test_failing_cases_are_named(self, opa: Path, folder: Path) -> None:
        (folder / "odd_test.rego").write_text(TEST)

        tested = Opa(opa).test(folder)

        package = "dataspine.custom.shop.odd_test"
        assert set(tested.cases) == {
            Case(package, "test_odd", "odd_test.rego", 5),
            Case(package, "test_cases", "odd_test.rego", 7, ("[odd]",)),
        }
        assert not tested.passed
        assert Opa(opa).test(folder, only=r"\.test_odd$").passed

    def test_coverage_names_the_lines_that_no_test_reached(self, opa: Path, folder: Path) -> None:
        (folder / "odd_test.rego").write_text(TEST)

        tested = Opa(opa).test(folder, only=r"\.test_odd$", coverage=True)

        assert tested.uncovered == {ODD: (7, 8, 9), "odd_test.rego": (7, 9)}

    def test_no_test_is_no_pass(self, opa: Path, folder: Path) -> None:
        assert not Opa(opa).test(folder).passed

    def test_tests_that_do_not_compile_say_where(self, opa: Path, folder: Path) -> None:
        (folder / "odd_test.rego").write_text(TEST.replace("odd.deny ==", "nope(1) =="))

        tested = Opa(opa).test(folder)

        assert not tested.passed
        assert {fault.line for fault in tested.faults} == {5, 9}

    def test_queries_answer_together_or_say_why_not(self, opa: Path, folder: Path) -> None:
        (folder / "a.rego").write_text("package a\n\nb := 1\n\nc := 2 if input.x\n")
        queries = ["[x | x := data.a.b]", "[x | x := data.a.c]"]

        assert Opa(opa).answers(folder, queries) == Answered(([1], []))
        (folder / "a.rego").write_text("package a\n\nb := 1 if true\n\nb := 2 if true\n")
        assert [f.code for f in Opa(opa).answers(folder, queries).faults] == ["eval_conflict_error"]
        (folder / "a.rego").write_text("package a\n\nb := c\n")
        assert [f.code for f in Opa(opa).answers(folder, queries).faults] == [
            "rego_unsafe_var_error"
        ]

    def test_queries_and_parsing_raise_for_what_is_no_rego(self, opa: Path, folder: Path) -> None:
        (folder / "broken.rego").write_text("package\n")

        for call in (
            lambda: Opa(opa).parse(folder / "broken.rego"),
            lambda: Opa(opa).annotations(folder),
            lambda: Opa(opa).evaluate(folder, "data", {}),
        ):
            with pytest.raises(InputError, match="OPA cannot read the rules"):
                call()

    def test_queries_answer_and_may_be_undefined(self, opa: Path, folder: Path) -> None:
        query = "data.dataspine.custom.shop.odd.deny"

        assert Opa(opa).evaluate(folder, query, {"facts": {"name": "odd"}}) == ["odd"]
        assert Opa(opa).evaluate(folder, "data.nothing", {}) is None

    def test_a_served_folder_answers_and_is_gone_afterwards(self, opa: Path, folder: Path) -> None:
        with Opa(opa).serve(folder) as client:
            answer = client.query("dataspine/custom/shop/odd/deny", {"facts": {"name": "odd"}})

        assert answer["result"] == ["odd"]
        with pytest.raises(UnavailableError):
            client.query("dataspine", {})

    def test_a_folder_that_does_not_compile_is_not_served(self, opa: Path, folder: Path) -> None:
        (folder / "broken.rego").write_text("package\n")

        with pytest.raises(UnavailableError, match="does not serve"), Opa(opa).serve(folder):
            pass


@pytest.mark.integration
class TestRegal:
    def test_objections_have_a_place(self, regal: Path, folder: Path) -> None:
        (folder / ODD).write_text(RULE.replace("package", "package ").replace("deny", "deny_it"))

        found = Regal(regal).lint(folder)

        assert Diagnostic(
            "File should be formatted with `opa fmt` (style/opa-fmt)", ODD, 1, "opa-fmt"
        ) in [Diagnostic(each.message, each.file, 1, each.code) for each in found]

    def test_what_cannot_be_linted_is_an_error(self, regal: Path, folder: Path) -> None:
        (folder / "broken.rego").write_text("package\n")

        with pytest.raises(DataSpineError, match="no report"):
            Regal(regal).lint(folder)

    def test_doctor_tells_the_versions(self, regal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPINE_REGAL", os.fspath(regal))
        monkeypatch.setenv("SPINE_CONFTEST", "/nowhere/conftest")

        found = {check.name: check for check in examine(None)}

        assert found["regal"].ok
        assert "(OPA " in found["regal"].found
        assert not found["conftest"].ok
        assert not found["conftest"].needed
