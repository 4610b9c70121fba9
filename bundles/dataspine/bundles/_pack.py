"""Pack the checkout's rules into the package: ``python -m dataspine.bundles._pack``."""

from importlib.resources import files
from pathlib import Path

from dataspine.bundles import archive
from dataspine.bundles.content import MANIFEST, PACKED, read_folder


def main() -> None:
    """Write ``policies.tar.gz`` beside this module."""
    here = Path(str(files("dataspine.bundles")))
    source = here.parents[2] / "policies"
    content = dict(read_folder(source).files)
    content[MANIFEST] = (source / MANIFEST).read_bytes()
    (here / PACKED).write_bytes(archive.write(content))


if __name__ == "__main__":
    main()
