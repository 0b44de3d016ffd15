"""Whose signatures count, how long entries stay, what was kept outside: all by whoever verifies, not the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pgvault.audit.entry import Entry, Head, make_content, read_entry
from pgvault.audit.signer import PublicKey
from pgvault.errors import ObjectCorrupt, UsageError

HEAD_TEXT = re.compile(r"([0-9a-f]{16}):(\d{1,8}):([0-9a-f]{64})", re.ASCII)
THIS_HOST = "this host"


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys that count."""

    names: Mapping[str, str]  # of their holders, by signer
    keys: Mapping[str, PublicKey]  # by signer
    is_configured: bool  # whether the configuration names any; else only this host's own key is known
    keep: timedelta | None = None  # no entry that is younger may have been cut; None: none at all

    @classmethod
    def of(cls, signers: Mapping[str, str], own: PublicKey | None, *, keep: timedelta | None = None) -> Trust:
        """Return what the configuration names, by name, and this host's own key. Raises KeyUnusable."""
        keys = {name: PublicKey.parse(text) for name, text in signers.items()}
        names = {key.signer: name for name, key in keys.items()}
        by_signer = {key.signer: key for key in keys.values()}
        if own is not None and own.signer not in by_signer:
            names[own.signer], by_signer[own.signer] = THIS_HOST, own
        return cls(names, by_signer, bool(signers), keep)

    def believes(self, key: PublicKey) -> bool:
        """Whether a key is one that counts: the key itself, not its short id."""
        return self.keys.get(key.signer) == key

    def name(self, signer: str) -> str:
        """What to call whoever signs: the name for people, or the id."""
        return self.names.get(signer, signer)


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry that is known from elsewhere: a receipt, a mail, a sheet of paper."""

    signer: str
    head: Head
    source: str  # where that is from


def parse_head(text: str) -> Kept:
    """Read SIGNER:NUMBER:SHA256, as `audit verify` prints the end of a chain. Raises UsageError."""
    match = HEAD_TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no end of a chain", hint="It is written SIGNER:NUMBER:SHA256.")
    return Kept(match[1], Head(int(match[2]), bytes.fromhex(match[3])), "--head")


def read_receipt(path: Path) -> Entry:
    """Read an entry that was exported: FILE.json with FILE.sig beside it, or a directory with receipt.json.

    Raises UsageError when it can not be read, ObjectCorrupt when the signature is not that of the key in it.
    """
    document = path / "receipt.json" if path.is_dir() else path
    try:
        content = make_content(document.read_bytes(), document.with_suffix(".sig").read_bytes())
    except OSError as error:
        raise UsageError(
            f"receipt {str(path)!r} can not be read: {error.strerror}: {error.filename!r}",
            hint="Name the .json file; its .sig lies beside it.",
        ) from error
    return read_entry(content, where=str(path))


def keep(entry: Entry, *, repository_id: bytes, source: str) -> Kept:
    """Return an exported entry as something to compare with. Raises ObjectCorrupt where it is another repository's."""
    if entry.place.repository_id != repository_id:
        raise ObjectCorrupt(f"receipt {source!r} is of another repository: {entry.place.repository_id.hex()}")
    return Kept(entry.signer, entry.head, source)
