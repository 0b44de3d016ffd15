"""The escrow sheet: a key on paper, with checks that find a typo, and the words to use it.

    repository  <32 hex digits>
    key 1/4     0011 2233 4455 6677   check 1a2b         four lines: 8 bytes each; check: of this line
    …
    check       1a2b 3c4d                                of repository and key together

    line check  = first 2 bytes of SHA-256("pgvault escrow line" | line number u8 | 8 bytes)
    whole check = first 4 bytes of SHA-256("pgvault escrow" | repository id | key)

Only these lines are read back, wherever they stand; the rest of a sheet is for people. Case and spaces do not matter.
"""

from __future__ import annotations

import hashlib
import re

from pgvault.errors import KeyUnusable

TITLE = "pgvault escrow sheet"
LINES = 4
LINE_BYTES = 8
SPACES = re.compile(r"\s+")
REPOSITORY = re.compile(r"^\s*repository\s+([0-9a-f]{32})\s*$", re.I | re.M)
KEY_LINE = re.compile(r"^\s*key\s+(\d)\s*/\s*4\s+([0-9a-f ]+?)\s+check\s+([0-9a-f]{4})\s*$", re.I | re.M)
WHOLE = re.compile(r"^\s*check\s+([0-9a-f ]+?)\s*$", re.I | re.M)


def is_sheet(text: str) -> bool:
    """Tell whether this is a sheet, as far as its title or its lines show."""
    return TITLE in text.lower() or KEY_LINE.search(text) is not None


def encode_key_lines(repository_id: bytes, key: bytes) -> list[str]:
    """Return the lines that are read back."""
    lines = [f"repository  {repository_id.hex()}"]
    for number in range(1, LINES + 1):
        piece = key[(number - 1) * LINE_BYTES : number * LINE_BYTES]
        lines.append(f"key {number}/{LINES}     {_grouped(piece)}   check {_line_check(number, piece).hex()}")
    return [*lines, f"check       {_grouped(_whole_check(repository_id, key))}"]


def decode_key_lines(text: str, *, where: str) -> tuple[bytes, bytes]:
    """Return (repository id, key) from a sheet. Raises KeyUnusable, which says in which line the typo is."""
    named = REPOSITORY.findall(text)
    found = {int(number): (digits, check) for number, digits, check in KEY_LINE.findall(text)}
    whole = WHOLE.findall(text)
    if len(named) != 1 or len(whole) != 1 or sorted(found) != list(range(1, LINES + 1)):
        raise KeyUnusable(
            f"escrow sheet {where!r} is not whole: it needs the lines repository, key 1/4 to 4/4 and check, each once",
            hint="Compare with the paper; digits are 0-9 and a-f.",
        )
    pieces = [_piece(number, *found[number], where=where) for number in sorted(found)]
    repository_id, key = bytes.fromhex(named[0]), b"".join(pieces)
    if SPACES.sub("", whole[0]).lower() != _whole_check(repository_id, key).hex():
        raise KeyUnusable(
            f"escrow sheet {where!r} does not fit its last check",
            hint="Compare the repository line and the last check with the paper, or two lines are of two sheets.",
        )
    return repository_id, key


def _piece(number: int, digits: str, check: str, *, where: str) -> bytes:
    compact = SPACES.sub("", digits)
    if len(compact) != 2 * LINE_BYTES or _line_check(number, bytes.fromhex(compact)).hex() != check.lower():
        raise KeyUnusable(f"escrow sheet {where!r} has a typo in line key {number}/{LINES}", hint="See the paper.")
    return bytes.fromhex(compact)


def _grouped(raw: bytes) -> str:
    digits = raw.hex()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _line_check(number: int, piece: bytes) -> bytes:
    return hashlib.sha256(b"pgvault escrow line" + bytes([number]) + piece).digest()[:2]


def _whole_check(repository_id: bytes, key: bytes) -> bytes:
    return hashlib.sha256(b"pgvault escrow" + repository_id + key).digest()[:4]
