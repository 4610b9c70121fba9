"""The processes that do what cannot be stopped or limited in this one: protoc, comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from dataspine.core.errors import InputError, UnavailableError
from dataspine.registry._json import invalid
from dataspine.registry._pool import Worker, WorkerPool

__all__ = ["ComparisonWorkers", "ProtobufWorkers", "too_costly"]


class ProtobufWorkers(WorkerPool):
    """Processes that run protoc, each with a memory limit; close them, or use ``with``.

    ``count`` run at once, started when first needed. A request that is not answered after
    ``seconds`` ends with its process, and a new one takes its place.
    """

    def __init__(self, count: int = 2, *, seconds: float = 5.0) -> None:
        super().__init__(count, lambda: Worker("_protoc_worker.py", _includes))
        self._seconds = seconds

    def compile(self, main: str, sources: Mapping[str, str]) -> tuple[bytes, str]:
        """Return a serialized ``FileDescriptorSet``, or protoc's errors when they are not empty.

        Raises ``InputError`` when the text takes more time or memory than it may, and
        ``UnavailableError`` when every process is busy for too long.
        """
        request = json.dumps({"main": main, "files": dict(sources)}).encode()
        answers = self.request(request, wait=2 * self._seconds, seconds=self._seconds)
        if answers is None:
            raise UnavailableError(
                "every Protobuf parser is busy", remedy="Try again.", code="registry.busy"
            )
        if not answers:
            raise invalid(
                "the schema takes more time or memory than it may",
                1,
                "Split the schema and use imports.",
            )
        ((failed, body),) = answers
        if not failed:
            return body, ""
        return b"", body.decode(errors="replace").strip() or "protoc gave no reason"


class ComparisonWorkers(WorkerPool):
    """Processes that compare schemas, each with a memory limit; close them, or use ``with``.

    Every comparison of one question, and waiting for a process, is within ``seconds``.
    """

    def __init__(self, count: int = 2, *, seconds: float = 10.0) -> None:
        super().__init__(count, lambda: Worker("_comparison_worker.py", lambda _: []))
        self.seconds = seconds

    def compare(self, question: bytes, count: int, *, seconds: float) -> list[bytes]:
        """Return the answers of ``count`` comparisons; fewer when they take more than they may.

        Raises ``InputError`` for what cannot be compared.
        """
        answers = self.request(question, answers=count, wait=seconds, seconds=seconds) or []
        for failed, body in answers:
            if failed:
                told = json.loads(body)
                raise InputError(
                    told["problem"], remedy=told["remedy"], code="registry.invalid_schema"
                )
        return [body for _, body in answers]


def too_costly() -> InputError:
    """Return that a comparison takes more than it may."""
    return InputError(
        "to compare the schema with the versions before it takes more time or memory than it may",
        remedy="Split the schema, use fewer branches in unions, or a level without TRANSITIVE.",
        code="registry.too_costly",
    )


def _includes(root: Path) -> list[str]:
    (root / "sources").mkdir()
    # Of what is installed beside google/type nothing may be imported.
    common = root / "common"
    (common / "google").mkdir(parents=True)
    a_type = Path(str(files("google.type").joinpath("date.proto")))
    (common / "google/type").symlink_to(a_type.parent)
    protobuf = files("grpc_tools").joinpath("_proto")
    package = files("dataspine.registry")
    return [str(root), str(package.joinpath("proto")), str(protobuf), str(common)]
