"""Where events may be sent, and with which token: a workspace alone chooses neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from dataspine.core.configuration import AllowedReceiver
from dataspine.core.errors import InputError
from dataspine.core.secret import require_reference, resolve
from dataspine.core.workspace import Receiver

__all__ = ["Recipient"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PORTS = {"http": 80, "https": 443}


class Recipient:
    """A receiver that this user's own configuration does not forbid.

    Its address is https, or http on loopback; without a token also what the configuration names. A
    token goes to an address only when the configuration names both. Raises ``InputError``.
    """

    def __init__(
        self, receiver: Receiver, allowed: Sequence[AllowedReceiver], *, root: Path
    ) -> None:
        self.name = receiver.name
        self._token = receiver.token
        self._root = root
        self.url = _address(receiver)
        origin = _origin(self.url)
        fitting = [each for each in allowed if _origin(_split(each.url)) == origin]
        self._tokens = {_whole(token, Path("/")) for each in fitting for token in each.tokens}
        is_private = self.url.scheme == "https" or self.url.hostname in _LOOPBACK
        if not is_private and (self._token is not None or not fitting):
            raise InputError(
                "events would travel in the clear",
                where=self.name,
                remedy="Write https://. Without a token, http:// is for loopback, and for what "
                "`receivers` in your own data-spine/config.yaml names.",
                code="lineage.receiver_plain",
            )
        self._require_allowed()

    def token(self) -> str | None:
        """Return the secret to send, or raise as ``resolve`` does."""
        # Asked each time: a file may have become a link to another one.
        self._require_allowed()
        return None if self._token is None else resolve(self._token, root=self._root)

    def _require_allowed(self) -> None:
        if self._token is None:
            return
        wanted = _whole(self._token, self._root)
        if wanted not in self._tokens:
            scheme, host, port = _origin(self.url)
            shown = f"[{host}]" if ":" in host else host
            raise InputError(
                "the workspace alone does not choose who gets a secret of yours",
                where=self.name,
                remedy="If you mean it, add to `receivers` in your own data-spine/config.yaml: "
                f'{{url: "{scheme}://{shown}:{port}", tokens: ["{wanted}"]}}.',
                code="lineage.receiver_not_allowed",
            )


def _address(receiver: Receiver) -> SplitResult:
    url = _split(receiver.url)
    if url.scheme in _PORTS and url.hostname and url.username is None:
        return url
    raise InputError(
        "a receiver's address is http:// or https:// and carries no credentials",
        where=receiver.name,
        remedy="Give the token by reference: token: env:NAME or file:PATH.",
        code="lineage.receiver_url",
    )


def _split(text: str) -> SplitResult:
    """Return the parts of an address; none when its host or its port is not one."""
    try:
        url = urlsplit(text)
        return url if url.port != 0 else urlsplit("")
    except ValueError:
        return urlsplit("")


def _origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, url.hostname or "", url.port or _PORTS.get(url.scheme, 0)


def _whole(reference: str, root: Path) -> str:
    """Return a reference that means the same in every folder, with no symbolic link in it."""
    kind, name = require_reference(reference)
    return reference if kind == "env" else f"file:{(root / name).resolve()}"
