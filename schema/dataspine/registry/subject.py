"""The name of a subject."""

from __future__ import annotations

import re
import unicodedata

from dataspine.core.errors import InputError

__all__ = ["LAST_SUBJECT", "MAX_SUBJECT", "check_new_subject", "check_subject"]

# Controls, marks of direction, halves of pairs, separators of lines: two names could look the same.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
MAX_SUBJECT = 255
# After all that may follow a prefix.
LAST_SUBJECT = "\U0010ffff" * MAX_SUBJECT
_RESERVED = frozenset({"ids", "guids", "types"})  # segments of the HTTP paths beside subjects
# Blanks that Unicode counts as letters, marks and symbols.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Alphabets that share shapes of letters: in one name, two of them are a disguise.
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE"})


def check_new_subject(subject: str) -> None:
    """Raise ``InputError`` for a name that looks like another one, or like a pattern of grants.

    What has versions already is read and continued under any name.
    """
    problem = None
    if subject != subject.strip():
        problem = "begins or ends with a blank"
    elif "*" in subject:
        problem = "has a *, which is a pattern of subjects"
    elif subject.startswith(".") or subject.endswith("."):
        problem = "begins or ends with a dot"
    elif _BLANK.search(subject):
        problem = "has a character that nobody sees"
    elif unicodedata.normalize("NFKC", subject) != subject:
        problem = "has a character that looks like another one"
    elif len(_alphabets(subject)) > 1:
        problem = f"mixes letters of {' and '.join(sorted(_alphabets(subject)))}"
    if problem is not None:
        raise _refused(subject, problem)


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
        raise _refused(subject, problem)


def _alphabets(subject: str) -> set[str]:
    letters = (character for character in subject if character.isalpha())
    found = {unicodedata.name(letter, "").partition(" ")[0] for letter in letters}
    return {name.title() for name in found & _ALIKE}


def _refused(subject: str, problem: str) -> InputError:
    return InputError(
        f"the subject {problem}",
        where=ascii(subject[:40]),
        remedy="Use a name like shop.customers.",
        code="registry.invalid_subject",
    )
