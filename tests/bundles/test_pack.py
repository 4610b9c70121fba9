"""The rules that the wheel carries are the checkout's rules."""

from pathlib import Path

import pytest

from dataspine.bundles import Product, _pack, archive, packaged


def test_the_wheels_rules_are_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The packer writes beside its package; here into a folder that looks like a checkout.
    package = tmp_path / "bundles/dataspine/bundles"
    package.mkdir(parents=True)
    source = Path(__file__).parents[2] / "policies"
    (tmp_path / "policies").symlink_to(source)
    monkeypatch.setattr(_pack, "files", lambda _: package)
    _pack.main()
    packed = (package / "policies.tar.gz").read_bytes()
    _pack.main()
    assert (package / "policies.tar.gz").read_bytes() == packed
    files = archive.read(packed)
    assert files.pop(".manifest") == (source / ".manifest").read_bytes()
    assert Product(files) == packaged()
