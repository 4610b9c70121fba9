"""What keeps an engine from answering: each ``engine.*`` code with its words."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault's title, why it denies or stops, and what to do."""

    title: str
    why: str
    remedy: str


FAULTS = {
    "engine.undefined": Fault(
        "OPA gave no whole answer",
        "The point has no rules in the active bundle, no bundle is active, or what came back is not"
        " a whole decision. What is not allowed by a bundle is denied.",
        "Check that a bundle is active: `spine opa status`, `spine bundle status`.",
    ),
    "engine.unavailable": Fault(
        "OPA does not answer",
        "It is not installed, not started, or away. Without an engine nothing is allowed.",
        "Run `spine doctor`; with a configured OPA, check its address.",
    ),
    "engine.invalid_input": Fault(
        "The question cannot be asked",
        "It has no facts, names an unknown point, or is no JSON. A rule that reads nothing would"
        " find nothing, so it is denied before it is asked.",
        "Print a whole question with `spine input POINT FILE` and send that.",
    ),
    "engine.older_policy": Fault(
        "OPA went back to an older bundle",
        "It answered with a lower sequence than before. A rollback has a new, higher one, so this"
        " is a mistake or an attack.",
        "Publish again: `spine bundle rollback` gives the old content a new sequence.",
    ),
    "engine.stale_policy": Fault(
        "The policy is older than it may be",
        "OPA heard nothing of its control plane for longer than `decisions.max-policy-age`, and"
        " `on-stale` is `deny`. It may decide by rules that were replaced.",
        "Bring the control plane back: `spine opa status`, `spine doctor`.",
    ),
    "engine.bootstrap": Fault(
        "An empty channel took its first bundle",
        "No bundle judged it, because none was there; the signature of a trusted key let it in."
        " The journal keeps it under this code.",
        "Check who signed it: `spine bundle status`, `spine bundle keys`.",
    ),
    "engine.not_compilable": Fault(
        "The row rules cannot be compiled",
        "A row rule leaves what OPA evaluates partially, so it cannot be pushed down to the gate.",
        "Give the row rule a `row_ok` that OPA can compile, or let the route ask in batches.",
    ),
    "engine.not_activated": Fault(
        "The bundle did not become active",
        "OPA did not accept the bundle in time; mostly its signature does not count.",
        "Check signature and keys: `spine bundle verify`, `spine bundle keys`.",
    ),
    "engine.not_installed": Fault(
        "There is no usable OPA",
        "None was found, or what was found is older than Data Spine needs.",
        "Run `spine opa install`, or name one with SPINE_OPA.",
    ),
    "engine.program_changed": Fault(
        "The OPA program was changed",
        "Its digest is not the one that was recorded when it was installed.",
        "Run `spine opa install` again, and find out who changed it.",
    ),
    "engine.error": Fault(
        "OPA answered with an error",
        "The request reached OPA and failed there; the message has OPA's own words.",
        "Look at the message; `spine opa status` names the OPA that answered.",
    ),
}
