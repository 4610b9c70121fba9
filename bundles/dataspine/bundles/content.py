"""A bundle's content: the product's rules and a workspace's own, with one digest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from dataspine.bundles import archive
from dataspine.bundles.confined import ENVIRONMENT, opa_command, without_schemas
from dataspine.core.canonical import Json, canonical, digest, sha256
from dataspine.core.errors import InputError, IntegrityError, UnavailableError
from dataspine.core.process import Ended, run
from dataspine.core.scratch import scratch

__all__ = [
    "MANIFEST",
    "SIGNATURES",
    "Content",
    "Inputs",
    "Product",
    "build",
    "check",
    "content_digest",
    "file_hash",
    "is_whole",
    "packaged",
    "unfiltered_rules",
]

MANIFEST = ".manifest"
SIGNATURES = ".signatures.json"
DATA = "data.json"
ROOT = "dataspine"
_WHOLE = "lib.bundle_data.is_found_whole"
PACKED = "policies.tar.gz"
_CUSTOM = re.compile(
    r"dataspine/custom/(?P<domain>[a-z][a-z0-9_]*)/(?P<fault>[a-z][a-z0-9_]*)/[a-z][a-z0-9_]*\.rego"
)
# The package is a file's first statement: only blank lines and comments stand before it.
_PACKAGE = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*package[ \t]+([\w.]+)[ \t]*(?:#[^\n]*)?\r?\n")
_ROW_OK = re.compile(rb"^row_ok\b", re.MULTILINE)
_DENY = re.compile(r"^(?:default\s+)?deny\b", re.MULTILINE)
_OTHER_POINT = re.compile(r'^\t?[ ]*input\.point == "(?!row\.replicate")[a-z_.]+"$', re.MULTILINE)
_CUSTOM_FOLDER = "dataspine/custom"
CHECK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Product:
    """The installed version's rules: file names as in the bundle, without tests."""

    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a workspace adds; ``custom`` maps ``dataspine/custom/<domain>/<fault>/….rego``."""

    config: Mapping[str, Any]
    matrix: Mapping[str, Any]
    version: str
    exceptions: Sequence[Mapping[str, Any]] = ()
    custom: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """Unsigned content; equal sources give equal bytes, digest and revision.

    ``is_whole`` when OPA was asked and found that the data is what the rules expect.
    """

    files: Mapping[str, bytes]
    digest: str
    revision: str
    is_whole: bool = field(default=False, compare=False)

    def checked(self, opa: Path) -> Content:
        """Return it with ``is_whole`` as OPA finds it; raise as ``check``."""
        return replace(self, is_whole=is_whole(self.files, opa))


def packaged() -> Product:
    """Return the product's rules: the checkout's ``policies/`` if there is one, or the wheel's."""
    here = files("dataspine.bundles")
    checkout = Path(str(here)).parents[2] / "policies"
    if (checkout / MANIFEST).is_file():
        return read_folder(checkout)
    try:
        data = here.joinpath(PACKED).read_bytes()
    except FileNotFoundError:
        raise UnavailableError(
            "this installation has no rules",
            where=PACKED,
            remedy="Install the wheel again; in a checkout run `make bundle`.",
            code="bundle.no_rules",
        ) from None
    return Product({k: v for k, v in archive.read(data).items() if k != MANIFEST})


def read_folder(folder: Path) -> Product:
    """Read the rules and data of a ``policies/`` folder, without tests and custom rules."""
    found: dict[str, bytes] = {}
    for path in sorted((folder / ROOT).rglob("*")):
        name = path.relative_to(folder).as_posix()
        wanted = path.suffix == ".rego" or path.name == DATA
        if wanted and not name.endswith("_test.rego") and not name.startswith("dataspine/custom/"):
            found[name] = path.read_bytes()
    return Product(found)


def build(product: Product, inputs: Inputs, *, opa: Path | None = None) -> Content:
    """Join product and workspace into one content.

    Raises ``InputError`` for a matrix that puts a country or region into two geographies, a custom
    rule at a wrong place or with a product's code, an unsafe built-in, or rules without a row rule.
    With ``opa`` the whole is compiled strictly, and without unsafe built-ins: see ``check``.
    """
    _require_disjoint(inputs.matrix)
    contents = dict(product.files)
    for name, text in inputs.custom.items():
        _require_custom(name, text, product)
        contents[name] = text
    data: dict[str, Json] = {
        "config": inputs.config,
        "matrix": inputs.matrix,
        "exceptions": list(inputs.exceptions),
    }
    for key, value in data.items():
        contents[f"{ROOT}/{key}/data.json"] = canonical(value)
    _require_row_rule(contents)
    whole = content_digest(contents)
    revision = f"{inputs.version}+{whole.replace(':', '.')}"
    content = Content(contents, whole, revision)
    return content if opa is None else content.checked(opa)


def content_digest(contents: Mapping[str, bytes]) -> str:
    """Return ``sha256:<hex>`` over the sorted (name, hash) of all but manifest and signatures."""
    names = sorted(name for name in contents if name not in {MANIFEST, SIGNATURES})
    return digest([[name, file_hash(name, contents[name])] for name in names])


def unfiltered_rules(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the codes of custom rules that may judge rows and that the row filter leaves out.

    A rule counts unless each of its ``deny`` names another point: a route with one of these must
    ask OPA for each class of rows, as the filter alone would let through what the rule denies.
    """
    codes: set[str] = set()
    for name, raw in contents.items():
        found = _CUSTOM.fullmatch(name)
        if found is None:
            continue
        _, *denials = _DENY.split(raw.decode("utf-8", "replace"))
        bodies = [denial.partition("\n}")[0] for denial in denials]
        if not all(_OTHER_POINT.search(body) for body in bodies):
            codes.add(f"{found['domain']}.{found['fault']}")
    return tuple(sorted(codes))


def file_hash(name: str, raw: bytes) -> str:
    """Return OPA's hash of a bundle file: canonical JSON for data, bytes for the rest; hex.

    Raises ``ValueError`` for data that is no JSON.
    """
    if name.rpartition("/")[2] in {MANIFEST, DATA}:
        raw = _canonical_text(raw)
    return sha256(raw).removeprefix("sha256:")


def _canonical_text(raw: bytes) -> bytes:
    # Number literals are kept as they are written, as OPA keeps them.
    try:
        value = json.loads(
            raw, parse_int=_Literal, parse_float=_Literal, parse_constant=_refuse_constant
        )
        return _encode(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


class _Literal(str):
    __slots__ = ()


def _encode(value: Any) -> str:
    if isinstance(value, _Literal):
        return str(value)
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: pair[0].encode())
        return "{" + ",".join(f"{_encode(k)}:{_encode(v)}" for k, v in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_encode, value)) + "]"
    return canonical(value).decode()


def _require_disjoint(matrix: Mapping[str, Any]) -> None:
    owner: dict[tuple[str, str], str] = {}
    for name, geography in matrix.get("geographies", {}).items():
        for kind in ("countries", "regions"):
            for entry in geography.get(kind, ()):
                other = owner.setdefault((kind, entry), name)
                if other != name:
                    raise InputError(
                        f"{entry} belongs to {other} and to {name}",
                        where=f"/geographies/{name}/{kind}",
                        remedy="Keep it in one geography.",
                        code="bundle.ambiguous_geography",
                    )


def _require_custom(name: str, text: bytes, product: Product) -> None:
    found = _CUSTOM.fullmatch(name)
    declared = _PACKAGE.match(text.decode("utf-8", "replace"))
    expected = f"dataspine.custom.{found['domain']}.{found['fault']}" if found else ""
    if found is None or declared is None or declared.group(1) != expected:
        raise InputError(
            f"a custom rule is package {expected or 'dataspine.custom.<domain>.<fault>'}",
            where=f"policies/{name}",
            remedy="Put it at policies/dataspine/custom/<domain>/<fault>/<fault>.rego.",
            code="bundle.custom_place",
        )
    prefix = f"dataspine/rules/{found['domain']}/{found['fault']}/"
    if any(own.startswith(prefix) for own in product.files):
        raise InputError(
            f"{found['domain']}.{found['fault']} is a product rule's code",
            where=f"policies/{name}",
            remedy="Give your rule another name.",
            code="bundle.custom_code",
        )


def _require_row_rule(contents: Mapping[str, bytes]) -> None:
    rules = (raw for name, raw in contents.items() if name.startswith("dataspine/rules/"))
    if not any(_ROW_OK.search(raw) for raw in rules):
        raise InputError(
            "no row rule: every row would pass",
            remedy="Keep at least one.",
            code="bundle.no_row_rule",
        )


def check(contents: Mapping[str, bytes], opa: Path) -> None:
    """Compile the rules strictly and without unsafe built-ins; raise ``InputError``."""
    with scratch("rego") as folder:
        _write(contents, folder / "policies")
        _compile(folder, opa)


def is_whole(contents: Mapping[str, bytes], opa: Path) -> bool:
    """Compile the rules as ``check``, and return what they say of the data: is it whole?"""
    with scratch("rego") as folder:
        _write(contents, folder / "policies")
        _compile(folder, opa)
        root = folder / "policies" / ROOT
        # The rules that say so need no more; the whole policy takes four times as long.
        data = [f"{ROOT}.{key}:{root / key / DATA}" for key in ("config", "matrix", "exceptions")]
        if not (root / "lib").is_dir():
            return False
        loaded = [word for each in (*data, str(root / "lib")) for word in ("--data", each)]
        argv = opa_command(opa, "eval", "--format", "json", *loaded, f"data.{ROOT}.{_WHOLE}")
        found = json.loads(_run(argv, folder)).get("result")
    return bool(found) and found[0]["expressions"][0]["value"] is True


def _write(contents: Mapping[str, bytes], folder: Path) -> None:
    for path, raw in contents.items():
        if path not in {MANIFEST, SIGNATURES}:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(raw)


def _compile(folder: Path, opa: Path) -> None:
    _run(opa_command(opa, "check", "--strict", "policies"), folder)
    if (folder / "policies" / _CUSTOM_FOLDER).is_dir():
        own = without_schemas(folder / "capabilities.json")
        argv = ("--strict", "--max-errors", "0", "policies")
        ended = _ended(opa_command(opa, "check", *argv, capabilities=own), folder)
        words = ended.complaint.decode("utf-8", "replace").splitlines()
        faults = [word for word in words if word.startswith(f"policies/{_CUSTOM_FOLDER}/")]
        if faults:  # the product's rules match what they are asked with schemas of the bundle
            raise _does_not_compile("\n".join(faults))


def _run(argv: list[str], folder: Path) -> str:
    ended = _ended(argv, folder)
    if ended.code != 0:
        raise _does_not_compile((ended.complaint or ended.output).decode("utf-8", "replace"))
    return ended.output.decode("utf-8", "replace")


def _ended(argv: list[str], folder: Path) -> Ended:
    try:
        return run(argv, cwd=folder, env=ENVIRONMENT, seconds=CHECK_SECONDS)
    except OSError as error:  # also a missed deadline
        raise UnavailableError(
            f"OPA did not check the rules: {type(error).__name__}",
            remedy="Run `spine doctor`.",
            code="bundle.not_checked",
        ) from None


def _does_not_compile(words: str) -> InputError:
    reason = words.strip()[:2000]
    return InputError(
        f"the rules do not compile: {reason}",
        remedy="Correct the rule there; see `opa check --strict`.",
        code="bundle.does_not_compile",
    )


def require_files(contents: Mapping[str, bytes]) -> None:
    """Raise ``IntegrityError`` unless every file is a rule or data under the bundle's root.

    OPA would also load compiled policy and plans, which nobody can read.
    """
    for name in contents:
        known = name.endswith(".rego") or name.rpartition("/")[2] == DATA
        if name != MANIFEST and not (known and name.startswith(f"{ROOT}/")):
            raise IntegrityError(
                f"{name} is neither a rule nor data under {ROOT}/",
                remedy="Do not use it; build the bundle again.",
                code="bundle.foreign_file",
            )
