"""``python -m dataspine.cli`` is ``spine``."""

from dataspine.cli.main import main

if __name__ == "__main__":
    main()
