"""Pieces of Markdown."""

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["cell", "table"]


def cell(text: object) -> str:
    """Return a text as one table cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a table's lines, none when there are no rows."""
    lines = [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
    if lines:
        yield f"| {' | '.join(columns)} |"
        yield f"|{'---|' * len(columns)}"
        yield from lines
        yield ""
