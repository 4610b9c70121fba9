"""A key is made once, for its owner alone."""

from pathlib import Path

from dataspine.cdc.key import load_key


def test_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "mask.key"
    first = load_key(path)
    assert load_key(path) == first
    assert len(first) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["mask.key"]
