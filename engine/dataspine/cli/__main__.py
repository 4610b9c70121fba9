"""``spine``, and ``python -m dataspine.cli``."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly from the first moment to the last."""
    # Loading takes a while and holds nothing; a shell may have made a background job deaf to it.
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dataspine.cli.main import main as run

    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if heard else signal.SIG_IGN)


if __name__ == "__main__":
    main()
