"""How OPA is run on rules that nobody has vouched for, such as those of a cloned repository.

Rules and their tests get the shipped built-ins alone, none of our environment, and no network: an
OPA with all its built-ins would send both to whoever wrote the rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

__all__ = ["CAPABILITIES", "ENVIRONMENT", "is_pure", "opa_command", "without_schemas"]

CAPABILITIES = Path(str(files("dataspine.bundles").joinpath("capabilities.json")))
# A run is short: to collect garbage before memory is short takes a third of its time.
ENVIRONMENT: Mapping[str, str] = MappingProxyType({"GOGC": "off", "GOMEMLIMIT": "1GiB"})
# What a rule may not do: read the machine, the network, the clock, or chance. Then every decision
# replays.
_UNSAFE = frozenset(
    {"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122"}
)
_WITH_CAPABILITIES = frozenset({"build", "check", "eval", "test"})
# An OPA that serves has no list of built-ins, and these fetch the schemas that a schema refers to.
_SCHEMAS = frozenset({"json.match_schema", "json.verify_schema"})


def is_pure(builtin: str) -> bool:
    """Tell whether a built-in's answer rests on its arguments alone."""
    return builtin not in _UNSAFE and not builtin.startswith("io.jwt.")


def opa_command(
    opa: Path, command: str, *arguments: str | Path, capabilities: Path = CAPABILITIES
) -> list[str]:
    """Return the command line of an OPA; run it with ``ENVIRONMENT`` and nothing else."""
    limits = ["--capabilities", str(capabilities)] if command in _WITH_CAPABILITIES else []
    return [str(opa), command, *limits, *map(str, arguments)]


def without_schemas(file: Path) -> Path:
    """Write what a workspace's own rules may use to ``file``, and return it."""
    shipped = json.loads(CAPABILITIES.read_bytes())
    shipped["builtins"] = [each for each in shipped["builtins"] if each["name"] not in _SCHEMAS]
    file.write_text(json.dumps(shipped), encoding="utf-8")
    return file
