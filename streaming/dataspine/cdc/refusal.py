"""What parks a row that no rule denied: each code with its words. Nothing here allows anything."""

from __future__ import annotations

from dataspine.decisions.fault import Fault

__all__ = ["MAX_CLASSES", "MAX_GUARD_BYTES", "REFUSALS"]

# No code of a country comes near; what does is not one, and may be a whole document.
MAX_GUARD_BYTES = 256
# Per flush, table and sink: four times the country codes there are, and some 4 MB of journal. Who
# writes to the source could else make OPA decide, and the journal keep, as much as they like.
MAX_CLASSES = 1_000

REFUSALS = {
    "cdc.sink_rejected": Fault(
        "The sink's type cannot hold a value",
        "Nothing is rounded, cut or left out, so the row parks; `detail` names the columns.",
        "Correct the value, or give the column another type at the source.",
    ),
    "cdc.incomplete_row": Fault(
        "A value is missing",
        "The source does not send a long value that did not change, and the newest version of the"
        " row here does not have it.",
        "Update that column at the source; the row then comes whole.",
    ),
    "cdc.obligation_unmet": Fault(
        "The row is allowed with a mask that the route does not have",
        "What policy demands of a row is done by the route, or the row does not go.",
        "Mask the column in the route file, run `spine cdc apply`, then `spine cdc dlq replay`.",
    ),
    "cdc.home_too_long": Fault(
        f"The home is longer than {MAX_GUARD_BYTES} bytes",
        "No code of a country comes near, so OPA is not asked. Beside the row, its beginning is"
        " kept.",
        "Correct the row at the source; its next version is judged.",
    ),
    "cdc.too_many_homes": Fault(
        f"One flush brought more than {MAX_CLASSES:,} different homes of a table to a sink",
        "Each home that OPA is asked about takes an entry in the journal, and whoever can write to"
        " the source chooses the homes. Rows of the other homes park without a question.",
        "See that `home` names the right column, then `spine cdc dlq replay`.",
    ),
}
