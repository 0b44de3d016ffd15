"""Fields of stored JSON documents, read strictly: what is not exactly what it must be raises ValueError.

JSON has one kind of number and one of text; 1.0, true and "1" are no counts here, a time without a zone is no
instant, and a digest has 32 bytes. Whoever reads a document turns ValueError into ObjectCorrupt, with its name.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

DIGEST_DIGITS = 64


def read_count(value: object) -> int:
    """A whole number that is not negative."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def read_decimal(value: object) -> int:
    """A number that is given as text, since it may exceed 2**53: a system identifier."""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} is not a decimal number")
    return int(value)


def read_text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")  # noqa: TRY004 - one error for all that is malformed
    return value


def read_list(value: object) -> list[Any]:
    """A list, of whatever."""
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")  # noqa: TRY004 - one error for all that is malformed
    return value


def read_digest(value: object) -> bytes:
    """A SHA-256 as 64 hexadecimal digits."""
    text = read_text(value)
    if len(text) != DIGEST_DIGITS:
        raise ValueError(f"{text!r} is not a SHA-256")
    return bytes.fromhex(text)


def read_instant(value: object) -> datetime:
    """An instant with its zone, as aware UTC."""
    instant = datetime.fromisoformat(read_text(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} does not say its zone")
    return instant.astimezone(UTC)
