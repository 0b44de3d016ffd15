"""Export an escrow sheet: a raw key on paper, where the copies are, and the words that restore from them.

A configured raw key is what the sheet shows. Where the configuration uses a passphrase or KMS, the sheet gets a raw
key and a slot of its own, so that it opens the repository when KMS, the account or the people are gone. The slot is
added only once the sheet lies on disk under a name that nobody takes for it; a sheet that opens nothing is never left.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pgvault import __version__
from pgvault.config import decode_key_lines, encode_key_lines
from pgvault.errors import KeyUnusable, Refused
from pgvault.instants import iso
from pgvault.keyring.change import add_slot, opened_by
from pgvault.keyring.state import settle
from pgvault.repository.keyfile import sync_directory, write_key_file
from pgvault.repository.keys import RAW, Credential
from pgvault.repository.repository import Repository
from pgvault.repository.slots import KEY_BYTES

SLOT = "escrow"
TAKEN = "Name another file."
NO_NEW_SLOT = (
    "The configuration uses no raw key: with --yes a new one is made for the sheet, with a slot of its own. Whoever "
    "holds the sheet opens every backup; pgvault key remove takes the slot away again."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy is, as the sheet says it."""

    name: str
    url: str
    region: str | None = None
    endpoint_url: str | None = None

    @property
    def options(self) -> str:
        """The options that name this copy on a machine without configuration."""
        words = ["--repository", self.url]
        words += ["--region", self.region] if self.region else []
        words += ["--endpoint-url", self.endpoint_url] if self.endpoint_url else []
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What is to be exported, and to where."""

    places: Sequence[Place]
    clusters: Sequence[str]
    out: Path | None  # None: the text is returned only
    may_add_slot: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """A sheet that opens the repository: that was tried."""

    slot: str
    is_new_slot: bool
    text: str = field(repr=False)


def export(repository: Repository, credential: Credential, order: ExportOrder, *, now: datetime) -> Exported:
    """Make a sheet, and with it a slot where the configuration has no raw key. Raises Refused, KeyUnusable."""
    if order.out is not None and order.out.exists():
        raise Refused(f"key file {str(order.out)!r} exists and is never overwritten", hint=TAKEN)
    state = settle(repository, credential)
    if credential.kind == RAW:
        (slot, *_) = opened_by(state.document, credential)
        text = write_sheet(repository.id, credential.secret, slot, order, now=now)
        _prove(repository, text)
        if order.out is not None:
            write_key_file(order.out, text, hint=TAKEN)
        return Exported(slot, is_new_slot=False, text=text)
    if not order.may_add_slot:
        raise Refused(
            f"an escrow sheet needs a raw key, and the configured one is of kind {credential.kind}", hint=NO_NEW_SLOT
        )
    key = Credential(RAW, os.urandom(KEY_BYTES))
    slot = f"{SLOT}-{now:%Y%m%d}-{secrets.token_hex(2)}"
    text = write_sheet(repository.id, key.secret, slot, order, now=now)

    def add() -> None:
        add_slot(repository, credential, key, name=slot, now=now)
        _prove(repository, text)

    if order.out is None:
        add()
    else:
        _write_around(order.out, text, add)
    return Exported(slot, is_new_slot=True, text=text)


def write_sheet(repository_id: bytes, key: bytes, slot: str, order: ExportOrder, *, now: datetime) -> str:
    """Return the text of a sheet."""
    cluster = f" --cluster {order.clusters[0]}" if len(order.clusters) > 1 else ""
    lines = [
        "pgvault escrow sheet",
        "====================",
        "",
        "Whoever holds this sheet and may read one copy can read every backup; without it, or another key,",
        "nobody can. Keep it on paper, away from the machines and from the copies.",
        "",
        *encode_key_lines(repository_id, key),
        "",
        f"Made on {iso(now)} by pgvault {__version__}, for the slot {slot!r}.",
        f"Clusters: {', '.join(order.clusters) or 'none yet'}.",
        "",
        "To restore on a bare machine: install Python 3.11 or newer, PostgreSQL of the cluster's major and pgvault.",
        "Have credentials for the store of one copy; they are not on this sheet. Type the six lines from 'repository'",
        "to 'check' into a file escrow.txt; a typo is found. Then:",
    ]
    for place in order.places:
        lines += [
            "",
            f"  from copy {place.name}:",
            f"    pgvault list {place.options} --key file:escrow.txt",
            f"    pgvault restore {place.options} --key file:escrow.txt{cluster} --to latest /srv/restored",
        ]
    return "\n".join(
        [
            *lines,
            "",
            "Prove it, now and after every rotation of the keys: pgvault drill --only-copy NAME --key file:escrow.txt",
            "",
        ]
    )


def _write_around(out: Path, text: str, add: Callable[[], None]) -> None:
    """Write a file under another name, add what makes it true, then give it its name."""
    waiting = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    write_key_file(waiting, text, hint=TAKEN)
    try:
        add()
        _rename(waiting, out)
    finally:
        waiting.unlink(missing_ok=True)


def _prove(repository: Repository, text: str) -> None:
    """See that what was written opens the newest key document of every copy."""
    repository_id, key = decode_key_lines(text, where="the new sheet")
    if repository_id != repository.id:
        raise KeyUnusable("the new sheet names another repository")
    settle(repository, Credential(RAW, key))


def _rename(waiting: Path, out: Path) -> None:
    """Give a file its name, unless that is taken."""
    try:
        os.link(waiting, out)
    except FileExistsError as error:
        raise Refused(f"key file {str(out)!r} exists and is never overwritten", hint=TAKEN) from error
    except OSError:  # a file system without hard links, as on most sticks
        waiting.rename(out)
    sync_directory(out)
