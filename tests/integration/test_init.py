from pathlib import Path

from dataspine.adapters.init import init


def test_scaffold_says_where_each_file_lies(tmp_path: Path) -> None:
    told: list[str] = []
    init(tmp_path / "shop", told=told.append)
    assert told == [
        ".gitignore",
        "policies/exceptions.yaml",
        "schema/customers.avsc",
        "schema/data-residency-matrix.yaml",
        "schema/orders.proto",
        "spine.yaml",
        "streaming/cdc/data-spine.yaml",
        ".spine/keys/dev.pem",
        ".spine/keys/mask.key",
    ]
    again: list[str] = []
    init(tmp_path / "shop", told=again.append)
    assert again == []
