"""The user's own configuration: what a workspace must never choose, such as programs to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dataspine.core.document import load_document

__all__ = ["AllowedReceiver", "Configuration", "KeyCommand", "user_folder"]


@dataclass(frozen=True, slots=True)
class KeyCommand:
    """A program that signs; ``input`` says whether it gets the message or its SHA-256."""

    algorithm: str
    command: tuple[str, ...]
    input: Literal["message", "digest"] = "message"


@dataclass(frozen=True, slots=True)
class AllowedReceiver:
    """Where a workspace may send its lineage, and the references of the tokens that go there."""

    url: str
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """``data-spine/config.yaml`` in the user's configuration folder."""

    path: Path
    opa: str | None = None
    keys: Mapping[str, KeyCommand] = field(default_factory=dict)
    receivers: tuple[AllowedReceiver, ...] = ()

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Configuration:
        """Read the file; without one everything is unset. A fault in it raises ``InputError``."""
        path = user_folder(environment, "XDG_CONFIG_HOME", ".config") / "data-spine" / "config.yaml"
        if not path.is_file():
            return cls(path)
        value = load_document(path, "configuration").value or {}
        keys = {
            name: KeyCommand(k["algorithm"], tuple(k["command"]), k.get("input", "message"))
            for name, k in (value.get("keys") or {}).items()
        }
        receivers = tuple(
            AllowedReceiver(r["url"], tuple(r.get("tokens") or ()))
            for r in value.get("receivers") or ()
        )
        return cls(path, value.get("opa"), keys, receivers)


def user_folder(environment: Mapping[str, str], variable: str, default: str) -> Path:
    """Return a folder of the XDG specification, where a relative path is ignored."""
    named = environment.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    return Path(environment.get("HOME") or Path.home()) / default
