"""Repositories of several copies in memory, each to be hurt alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pgvault.errors import StoreUnreachable
from pgvault.progress import NoProgress
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.repository.verified import Verified, read_verified
from pgvault.verify.copies import CopyReport, Reports, Request, verify_copies
from pgvault.verify.report import VerifyReport
from pgvault.verify.selection import Selection
from tests.archive import AT
from tests.fakes import MemoryStore
from tests.verify.vault import Vault

NEXT_WEEK = AT + timedelta(days=7)


@dataclass(slots=True)
class Still:
    """A clock that is set."""

    at: datetime = NEXT_WEEK

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


class SilentStore(MemoryStore):
    """A copy that does not answer while it is `silent`."""

    silent = False

    def _note(self, verb: str, key: str) -> None:
        if self.silent:
            raise StoreUnreachable("the region is gone")
        super()._note(verb, key)


class Copies:
    """A deciding copy and another with the same objects."""

    def __init__(self, vault: Vault, *, is_sync: bool = False) -> None:
        self.primary, self.dr = SilentStore(), SilentStore()
        for store in (self.primary, self.dr):
            store.objects |= vault.objects
        copies = (Copy("primary", self.primary), Copy("dr", self.dr, is_sync, is_sync))
        self.repository: Repository = replace(vault.repository, copies=copies)

    def store(self, name: str) -> MemoryStore:
        return {"primary": self.primary, "dr": self.dr}[name]

    def verify(self, selection: Selection | None = None, *, only: str | None = None) -> Reports:
        """Verify them, each by itself."""
        request = Request("main", selection or Selection(), 2, only)
        return verify_copies(self.repository, request, progress=NoProgress(), clock=Still())

    def marks(self) -> Mapping[tuple[str, str], Verified]:
        return read_verified(self.repository, "main")


def of(reports: Reports, name: str) -> VerifyReport:
    """The report of one copy."""
    (found,) = (each for each in reports.copies if each.copy == name)
    return found.report


def said(found: VerifyReport | CopyReport) -> list[str]:
    """Its problems as an operator reads them."""
    report = found.report if isinstance(found, CopyReport) else found
    return [f"{problem.what}: {problem.error}" for problem in report.problems]


def flip(store: MemoryStore, key: str, place: int = 200) -> None:
    """Change a bit of an object."""
    body = bytearray(store.objects[key])
    body[place] ^= 1
    store.objects[key] = bytes(body)
