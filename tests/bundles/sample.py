"""A small product and what a workspace adds to it."""

from dataspine.bundles import Inputs, Product

ROW_RULE = b"""package dataspine.rules.residency.home_not_allowed

row_ok if input.row.country == "DE"

deny contains "abroad" if not row_ok
"""

PRODUCT = Product({"dataspine/rules/residency/home_not_allowed/home_not_allowed.rego": ROW_RULE})
MATRIX = {
    "version": 1,
    "geographies": {"EU": {"countries": ["DE"], "regions": ["eu-west-1"]}},
    "transfers": {"PII": {"EU": {"EU": {"allow": True}}}},
}


def inputs(**changes: object) -> Inputs:
    whole = {"config": {"rules": {}}, "matrix": MATRIX, "version": "1.4.0", **changes}
    return Inputs(**whole)  # type: ignore[arg-type] # a test names what it changes
