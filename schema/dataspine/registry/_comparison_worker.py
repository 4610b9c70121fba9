"""A process that compares schemas for its parent: one request, its answers, until the input ends.

What two schemas of a megabyte have in common may take minutes and gigabytes to find out; so it is
done here, under a memory limit, and the parent kills the process at its deadline.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from typing import BinaryIO

from dataspine.core.errors import InputError
from dataspine.registry._comparison import answers

__all__ = ["serve"]

MEMORY_BYTES = 768 * 1024 * 1024
MESSAGE = struct.Struct("!II")


def serve(requests: BinaryIO, output: BinaryIO) -> None:
    """Answer requests with one message for each comparison; an error is the last one."""
    while header := requests.read(4):
        (size,) = struct.unpack("!I", header)
        try:
            for body in answers(requests.read(size)):
                _write(output, body, failed=False)
        except RecursionError:
            _refuse(output, "the types are linked too deep to be compared", "Use fewer types.")
        except InputError as error:
            _refuse(output, error.problem, error.remedy)


def _refuse(output: BinaryIO, problem: str, remedy: str) -> None:
    told = {"problem": problem, "remedy": remedy}
    _write(output, json.dumps(told).encode(), failed=True)


def _write(output: BinaryIO, body: bytes, *, failed: bool) -> None:
    output.write(MESSAGE.pack(failed, len(body)))
    output.write(body)
    output.flush()


def main() -> None:
    """Limit this process, then serve its parent."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
