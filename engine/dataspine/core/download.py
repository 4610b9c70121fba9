"""Fetch over HTTPS, or from loopback; redirects too. Bounded in size and in time."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import urlsplit

__all__ = ["UnsafeAddressError", "fetch"]

_BLOCK = 1_048_576
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class UnsafeAddressError(ValueError):
    """An address whose answer anybody on the way could change."""


def fetch(
    url: str,
    into: BinaryIO,
    *,
    limit: int,
    end: float,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Write what ``url`` answers to ``into``; ``told`` hears the bytes so far, once a second.

    Raises ``UnsafeAddressError``, ``OSError`` for what the network says, ``TimeoutError`` past
    ``end`` on the monotonic clock, and ``ValueError`` over ``limit`` bytes or for no address.
    """
    _require_safe(url)
    size, last = 0, time.monotonic()
    opener = urllib.request.build_opener(_SafeRedirects)
    # A socket's timeout is for one operation; a peer that drips bytes needs the one below.
    with opener.open(url, timeout=max(0.001, min(30.0, end - last))) as reply:
        while block := reply.read1(_BLOCK):
            size += len(block)
            now = time.monotonic()
            if size > limit:
                raise ValueError(f"more than {limit} bytes")
            if now > end:
                raise TimeoutError("it takes too long")
            into.write(block)
            if now - last >= 1:
                last = now
                told(size)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise UnsafeAddressError("it is fetched over HTTPS only, or from loopback")
