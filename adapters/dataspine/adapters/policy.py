"""The workspace's policy: its sources as one signed bundle, and which one is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dataspine.adapters.own_state import own_pem
from dataspine.bundles import (
    BundleStore,
    Content,
    Inputs,
    Origin,
    Publisher,
    SigningKey,
    Trust,
    TrustedKey,
    build,
    packaged,
)
from dataspine.core.document import load_document
from dataspine.core.errors import ConflictError, InputError, IntegrityError, NotFoundError
from dataspine.core.workspace import SETTINGS, Workspace

__all__ = [
    "DEV",
    "STABLE",
    "ActivePolicy",
    "activate",
    "content_of",
    "dev_key",
    "is_current",
    "trust_of",
]

DEV = "dev"
STABLE = "stable"
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """What decides now; ``rebuilt`` when this call built and signed it."""

    channel: str
    revision: str
    sequence: int
    trust: Trust
    rebuilt: bool


def content_of(workspace: Workspace, *, opa: Path | None = None) -> Content:
    """Build the bundle's content from the product's rules and the workspace's files."""
    matrix = load_document(workspace.matrix_path, "matrix").value
    exceptions: list[Mapping[str, Any]] = []
    if workspace.exceptions_path.exists():
        exceptions = load_document(workspace.exceptions_path, "exceptions").value
    root = workspace.root / "policies"
    custom = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(workspace.custom_path.rglob("*.rego"))
        if not path.name.endswith("_test.rego")
    }
    inputs = Inputs(
        custom=custom,
        config={"rules": dict(workspace.settings.rules), **workspace.settings.sections},
        matrix=matrix,
        exceptions=exceptions,
        version=version("data-spine"),
    )
    return build(packaged(), inputs, opa=opa)


def dev_key(workspace: Workspace) -> SigningKey:
    """Return this clone's own key; it signs for channel ``dev`` of this clone alone."""
    where = str(workspace.state / "keys" / "dev.pem")
    return SigningKey.parse(own_pem(workspace.state, "dev.pem"), id=DEV, where=where)


def trust_of(workspace: Workspace) -> Trust:
    """Return whose signatures count: the committed keys, and for ``dev`` the clone's own."""
    keys = [TrustedKey(t.id, t.algorithm, t.key, t.channels) for t in workspace.settings.trust]
    if (workspace.state / "keys" / "dev.pem").exists():
        try:
            keys.append(dev_key(workspace).trusted(channels=(DEV,)))
        except IntegrityError:
            # It counts in no released channel: one that others know must not lock their owner out.
            if workspace.settings.mode == DEV:
                raise
    named = [key.id for key in keys]
    for name in named:
        if named.count(name) > 1:
            raise InputError(
                f"the key id {name!r} is trusted twice",
                where=f"{SETTINGS}: trust",
                remedy="Give each key an id of its own.",
                code="bundle.ambiguous_key",
            )
    return Trust(tuple(keys))


def is_current(workspace: Workspace, store: BundleStore) -> bool:
    """Tell whether ``activate`` would build nothing: what is served is the workspace's policy."""
    if workspace.settings.mode != DEV:
        return True
    current = store.active(DEV)
    return current is not None and current.digest == content_of(workspace).digest


def activate(
    workspace: Workspace, store: BundleStore, *, actor: str, opa: Path | None = None
) -> ActivePolicy | None:
    """Return the active policy; mode ``dev`` builds and signs it first when it changed.

    None is a released channel to which nothing was published yet.
    """
    trust = trust_of(workspace)
    if workspace.settings.mode != DEV:
        current = store.active(STABLE)
        if current is None:
            return None
        return ActivePolicy(STABLE, current.revision, current.sequence, trust, rebuilt=False)
    if not (workspace.state / "keys" / "dev.pem").exists():
        raise NotFoundError(
            "this clone has no key yet",
            where=str(workspace.state),
            remedy="Run `spine init .` in the workspace.",
            code="input.no_key",
        )
    for _ in range(ATTEMPTS - 1):
        try:
            return _activate_dev(workspace, store, Publisher(dev_key(workspace), trust, actor), opa)
        except ConflictError:
            continue  # another process published meanwhile, perhaps the same
    return _activate_dev(workspace, store, Publisher(dev_key(workspace), trust, actor), opa)


def _activate_dev(
    workspace: Workspace, store: BundleStore, publisher: Publisher, opa: Path | None
) -> ActivePolicy:
    content = content_of(workspace)
    current = store.active(DEV)
    if current is not None and current.digest == content.digest:
        return ActivePolicy(DEV, current.revision, current.sequence, publisher.trust, rebuilt=False)
    # Compiling takes a tenth of a second: only what is new is compiled.
    content = content_of(workspace, opa=opa)
    bundle = store.release(content, DEV, publisher, origin=Origin(author=publisher.actor))
    return ActivePolicy(DEV, bundle.revision, bundle.sequence, publisher.trust, rebuilt=True)
