r"""Write the chains out, so that anybody can check them without pgvault, and without the repository's key.

    DIR/<signer>/signer.pem          the public key
    DIR/<signer>/<number>.json       the signed bytes of each entry, exactly
    DIR/<signer>/<number>.sig        their signature, 64 bytes

    openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in 00000000.json -sigfile 00000000.sig

`previous` in an entry is the SHA-256 of the entry before it: its .json, a line feed, base64 of its .sig, a line feed.
What was exported before is compared and never changed: where it differs, the repository was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pgvault.audit.chain import UNREADABLE, entry_at, numbers_backwards, signers
from pgvault.audit.entry import Entry, Head
from pgvault.audit.remark import holes, spans
from pgvault.errors import DiskFull, PgvaultError, VerifyFailed
from pgvault.repository import layout
from pgvault.repository.repository import Repository

SIGNER = "signer.pem"


@dataclass(slots=True)
class Exported:
    """What was written."""

    written: int = 0  # entries
    same: int = 0  # that were there before
    heads: dict[str, Head] = field(default_factory=dict)  # ends of the chains, by signer
    problems: list[str] = field(default_factory=list)

    def require_whole(self) -> None:
        """Raise VerifyFailed where something could not be exported, or differs from what was."""
        if self.problems:
            raise VerifyFailed(f"{len(self.problems)} entries are not exported; first, {self.problems[0]}")


def export(repository: Repository, directory: Path) -> Exported:
    """Write every entry that opens. Raises DiskFull; what is wrong with an entry stands in the result."""
    found = Exported()
    for signer in signers(repository):
        numbers = sorted(numbers_backwards(repository, signer))
        for missing in holes(numbers, begin=min(numbers, default=0) // layout.AUDIT_GROUP * layout.AUDIT_GROUP):
            found.problems.append(f"{spans([missing])} of {signer} missing")
        for number in numbers:
            try:
                entry = entry_at(repository, signer, number)
            except UNREADABLE as error:
                _note(found, signer, number, error)
                continue
            _export(found, entry, directory / signer)
    return found


def _note(found: Exported, signer: str, number: int, error: PgvaultError) -> None:
    found.problems.append(f"entry {number} of {signer}: {error}")


def _export(found: Exported, entry: Entry, directory: Path) -> None:
    name = f"{entry.place.number:08d}"
    files = {SIGNER: entry.key.pem(), f"{name}.json": entry.document, f"{name}.sig": entry.signature}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        is_new = [_write(directory / file, content) for file, content in files.items()]
    except OSError as error:
        raise DiskFull(f"'{directory}' can not be written to: {error.strerror}") from error
    if None in is_new:
        found.problems.append(f"entry {entry.place.number} of {entry.signer} is not what was exported to '{directory}'")
        return
    found.written += bool(is_new[-1])
    found.same += not is_new[-1]
    found.heads[entry.signer] = entry.head


def _write(path: Path, content: bytes) -> bool | None:
    """Write a file; False where it is there as it should be, None where it is there otherwise."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False if path.read_bytes() == content else None
    return True
