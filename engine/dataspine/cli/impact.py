"""How an impact is shown to people, and its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dataspine.adapters.policy_impact import KINDS, Impact, Told
from dataspine.cli.output import Output

__all__ = ["progress", "show"]

WORDS = {
    "same": "same",
    "deny_to_allow": "deny→allow",
    "allow_to_deny": "allow→deny",
    "changed_obligations": "changed",
    "not_replayable": "not replayable",
}


@contextlib.contextmanager
def progress(output: Output) -> Iterator[Told]:
    """Show how many recorded decisions are done, while the block runs."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("decisions"), TimeElapsedColumn())
    hidden = output.as_json or output.quiet or not output.err.is_terminal
    with Progress(*columns, console=output.err, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def show(output: Output, found: Impact) -> None:
    """Print the counts per point, what happens to codes, and the examples."""
    sides = {"base": found.base, "candidate": found.candidate}
    output.facts(
        {
            **{
                word: f"{s['revision'][:26]} ({s['channel']} {s['sequence']})"
                for word, s in sides.items()
            },
            "recorded": f"{sum(found.recorded.values()):,} decisions, {found.distinct:,} distinct,"
            f" asked {found.asked:,} times",
            "existing": f"{sum(found.existing.values()):,} subjects and routes",
        }
    )
    rows: list[tuple[object, ...]] = [
        (point, *(f"{counts[kind]:,}" for kind in KINDS)) for point, counts in found.points.items()
    ]
    rows.append(("all", *(f"{found.counts[kind]:,}" for kind in KINDS)))
    output.table(("point", *(WORDS[kind] for kind in KINDS)), rows)
    if found.codes:
        codes: list[tuple[object, ...]] = [
            (code, f"{counts['appears']:,}", f"{counts['disappears']:,}")
            for code, counts in found.codes.items()
        ]
        output.table(("code", "appears", "disappears"), codes)
    for reason, count in found.reasons.items():
        output.say(f"not replayable: {count:,} {reason}")
    for example in found.examples:
        _show_example(output, example)


def _show_example(output: Output, example: Mapping[str, Any]) -> None:
    what = example["decision_id"] or "exists now"
    times = f", {example['decisions']:,} decisions" if example["decisions"] > 1 else ""
    output.say(
        f"{WORDS[example['kind']]}  {example['point']} {example['name']}  {what}{times}\n"
        f"    {_answer(example['before'])}  →  {_answer(example['after'])}"
    )


def _answer(answer: Mapping[str, Any]) -> str:
    words = [*answer["codes"], *(f"{code} (warn)" for code in answer["warnings"])]
    if answer["obligations"]:
        words.append(f"{len(answer['obligations'])} obligations")
    return f"{'allow' if answer['allow'] else 'deny'} {', '.join(words)}".strip()
