"""The name of a subject."""

from __future__ import annotations

import unicodedata

from dataspine.core.errors import InputError

__all__ = ["LAST_SUBJECT", "MAX_SUBJECT", "check_subject"]

# Controls, marks of direction, halves of pairs, separators of lines: two names could look the same.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
MAX_SUBJECT = 255
# After all that may follow a prefix.
LAST_SUBJECT = "\U0010ffff" * MAX_SUBJECT
_RESERVED = frozenset({"ids", "guids", "types"})  # segments of the HTTP paths beside subjects


def check_subject(subject: str) -> None:
    """Raise ``InputError`` unless the name can be a subject."""
    problem = None
    if not subject.strip():
        problem = "is empty"
    elif len(subject) > MAX_SUBJECT:
        problem = f"is longer than {MAX_SUBJECT} characters"
    elif subject in _RESERVED or subject in {".", ".."}:
        problem = "is reserved"
    elif any(unicodedata.category(character) in _UNSEEN for character in subject):
        problem = "has a control character or one that nobody sees"
    if problem is not None:
        raise InputError(
            f"the subject {problem}",
            where=ascii(subject[:40]),
            remedy="Use a name like shop.customers.",
            code="registry.invalid_subject",
        )
