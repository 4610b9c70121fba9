"""A workspace: a folder with ``spine.yaml``, its sources, and its state in ``.spine/``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataspine.core.database import Database, postgresql_url
from dataspine.core.document import load_document
from dataspine.core.errors import NotFoundError
from dataspine.core.secret import PASSFILE, comes_from_file, resolve

__all__ = ["FleetSettings", "Receiver", "Settings", "TokenEntry", "TrustEntry", "Workspace"]

SETTINGS = "spine.yaml"
MATRIX = "schema/data-residency-matrix.yaml"
EXCEPTIONS = "policies/exceptions.yaml"
CUSTOM = "policies/dataspine/custom"
# Sections of the settings that rules read, as they are written.
SECTIONS = ("access", "metadata", "retention", "subjects")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """A public key that may sign bundles for some channels."""

    id: str
    algorithm: str
    key: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """Whose bearer token has this digest (``sha256:…``), and the roles that it names."""

    name: str
    digest: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A lineage receiver: where events are sent, and the reference of its token."""

    name: str
    url: str
    token: str | None = None
    batch: bool = False


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """How sidecars are judged: seconds, counts, and which channel a ring follows.

    A channel is held after ``hold_after`` authenticated instances refused a bundle.
    """

    rings: Mapping[str, str] = field(
        default_factory=lambda: {name: name for name in ("candidate", "canary", "stable")}
    )
    hold_after: int = 3
    stale_after: float = 300.0
    clock_tolerance: float = 30.0
    max_unauthenticated: int = 200

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> FleetSettings:
        """Build the settings from the checked section; what it leaves out keeps its default."""
        told = {name.replace("-", "_"): each for name, each in value.items()}
        for name in ("stale_after", "clock_tolerance"):
            if name in told:
                told[name] = float(told[name][:-1]) * _SECONDS[told[name][-1]]
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Settings:
    """``spine.yaml``, typed.

    ``database`` is the reference of an address, None for a file; ``letter_key`` that of the key of
    the dead letters, None for the clone's own.
    """

    name: str
    mode: str
    trust: tuple[TrustEntry, ...] = ()
    tokens: tuple[TokenEntry, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    compatibility: str = "BACKWARD"
    incompatible_code: int = 409
    logical_types: bool = False
    database: str | None = None
    opa: str | None = None
    max_policy_age: str | None = None
    on_stale: str = "warn"
    receivers: tuple[Receiver, ...] = ()
    routes: tuple[str, ...] = ()
    letter_key: str | None = None
    fleet: FleetSettings = field(default_factory=FleetSettings)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Settings:
        """Build the settings from the checked file's value."""
        decisions = value.get("decisions") or {}
        registry = value.get("registry") or {}
        return cls(
            name=value["name"],
            mode=value["mode"],
            trust=tuple(
                TrustEntry(t["id"], t["algorithm"], t["key"], tuple(t["channels"]))
                for t in value.get("trust") or ()
            ),
            tokens=tuple(
                TokenEntry(t["name"], t["digest"], tuple(t.get("roles") or ()))
                for t in (value.get("auth") or {}).get("tokens") or ()
            ),
            rules=dict(value.get("rules") or {}),
            sections={name: value[name] for name in SECTIONS if name in value},
            owners=dict(value.get("owners") or {}),
            compatibility=registry.get("compatibility", "BACKWARD"),
            incompatible_code=registry.get("incompatible-code", 409),
            logical_types=registry.get("logical-types", False),
            database=(value.get("database") or {}).get("url"),
            opa=decisions.get("opa"),
            max_policy_age=decisions.get("max-policy-age"),
            on_stale=decisions.get("on-stale", "warn"),
            receivers=tuple(
                Receiver(r["name"], r["url"], r.get("token"), bool(r.get("batch")))
                for r in (value.get("lineage") or {}).get("receivers") or ()
            ),
            routes=tuple((value.get("cdc") or {}).get("routes") or ()),
            letter_key=(value.get("cdc") or {}).get("letter-key"),
            fleet=FleetSettings.of(value.get("fleet") or {}),
        )


@dataclass(frozen=True)
class Workspace:
    """An opened workspace; ``open`` and ``find`` check ``spine.yaml`` first."""

    root: Path
    settings: Settings

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """Open the workspace in a folder; a faulty ``spine.yaml`` raises ``InputError``."""
        document = load_document(root / SETTINGS, "spine")
        return cls(root.resolve(), Settings.of(document.value))

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """Open the nearest workspace from ``start`` upwards."""
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / SETTINGS).is_file():
                return cls.open(folder)
        raise NotFoundError(
            f"no {SETTINGS} here or in a folder above",
            where=str(start.resolve()),
            remedy="Run `spine init DIR`, or name one with --workspace.",
            code="input.no_workspace",
        )

    @property
    def name(self) -> str:
        """The workspace's name."""
        return self.settings.name

    @property
    def state(self) -> Path:
        """The git-ignored folder of everything that is not source."""
        return self.root / ".spine"

    @functools.cached_property
    def database(self) -> Database:
        """``spine.db``, or the PostgreSQL whose address ``database.url`` refers to.

        Raises ``UnavailableError`` when there is nothing behind the reference.
        """
        reference = self.settings.database
        if reference is None:
            return Database(self.state / "spine.db")
        url = postgresql_url(resolve(reference, root=self.root), where=reference)
        if comes_from_file(reference):
            own = {} if url.password else {"password": url.query.get("password", "")}
            url = url.update_query_dict({**own, "passfile": PASSFILE})
        return Database(url)

    @property
    def matrix_path(self) -> Path:
        """The residency matrix's source."""
        return self.root / MATRIX

    @property
    def exceptions_path(self) -> Path:
        """The dated exceptions' source."""
        return self.root / EXCEPTIONS

    @property
    def custom_path(self) -> Path:
        """The folder of the workspace's own rules."""
        return self.root / CUSTOM

    def owner_of(self, subject: str) -> str | None:
        """Return the team whose prefix fits the subject best, or None."""
        fitting = [prefix for prefix in self.settings.owners if subject.startswith(prefix)]
        return self.settings.owners[max(fitting, key=len)] if fitting else None
