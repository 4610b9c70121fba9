"""How what differs between two bundles is shown to people."""

from __future__ import annotations

from rich.text import Text

from dataspine.adapters.bundle_diff import Difference
from dataspine.cli.output import Output

__all__ = ["show_difference"]


def show_difference(output: Output, found: Difference) -> None:
    """Print the files, and in data each value, that one has and the other has not."""
    if found.before == found.after:
        output.say(Text(f"the same: {found.before}"))
        return
    output.say(Text(f"from {found.before}\n  to {found.after}", "dim"))
    for name in found.added:
        output.say(Text(f"+ {name}", "green"))
    for name in found.removed:
        output.say(Text(f"- {name}", "red"))
    for name, (more, less) in found.changed.items():
        output.say(Text(f"~ {name}  +{more} -{less} lines", "yellow"))
    for change in found.data:
        output.say(Text(f"~ {change.words}", "yellow"))
