r"""A receipt: the audit entry of one drill, as files that anybody can check without pgvault.

    receipt.json     the signed bytes, exactly          openssl pkeyutl -verify -pubin -inkey signer.pem -rawin \
    receipt.sig      the signature, 64 bytes                -in receipt.json -sigfile receipt.sig
    signer.pem       the public key

The report of a drill is stored before its entry is made, so nothing in it points there: the entry is found by its time,
by halving each chain. Rows that failed a check are left out of the entry: the report holds them, which can be removed
one day, and an entry can not.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pgvault.audit.chain import entry_at, numbers_backwards, signers
from pgvault.audit.entry import Entry
from pgvault.errors import DirectoryNotEmpty, ObjectCorrupt, ObjectMissing, Refused
from pgvault.repository.fields import read_instant
from pgvault.repository.repository import Repository

WHAT = "drill"  # of the event
DOCUMENT, SIGNATURE, SIGNER = "receipt.json", "receipt.sig", "signer.pem"
VERIFY = f"openssl pkeyutl -verify -pubin -inkey {SIGNER} -rawin -in {DOCUMENT} -sigfile {SIGNATURE}"
SLACK = timedelta(minutes=10)  # by which a host's clock may have been set back meanwhile
LATEST = timedelta(days=7)  # after it began, a drill is over

# What a drill is evidence for. To claim that a control is met is for whoever audits it.
SERVES = (
    {
        "clause": "SOC 2 A1.2",
        "sense": "backups and recovery infrastructure exist: these could be read and restored at that time",
    },
    {
        "clause": "SOC 2 A1.3",
        "sense": "recovery plan procedures are tested: this is one test, with its result and what it left out",
    },
    {
        "clause": "SOC 2 CC7.5",
        "sense": "recovery from incidents: how long it took, and how much would have been lost, as measured",
    },
    {
        "clause": "ISO/IEC 27001:2022 A.8.13",
        "sense": "information backup: copies are tested by restoring them, and checked afterwards",
    },
    {
        "clause": "ISO/IEC 27001:2022 A.5.29 and A.5.30",
        "sense": "continuity: recovery time and recovery point, beside the objectives that were set",
    },
)
NO_CLAIM = "evidence that a control may rest on; whether it is met is for whoever audits it"


def receipt_details(report: Mapping[str, Any], *, version: str) -> dict[str, Any]:
    """Return what the entry of a drill holds: its report less rows, by which versions, and what it is evidence for."""
    checks = [
        {name: value for name, value in check.items() if name != "sample"}
        | ({"rows_left_out": len(check["sample"])} if check.get("sample") else {})
        for check in report.get("checks", ())
    ]
    return {
        "report": {**report, "checks": checks},
        "versions": {"pgvault": version, "postgresql": report.get("postgresql"), "os": _system()},
        "serves": list(SERVES),
        "claims": NO_CLAIM,
    }


def _system() -> str:
    with suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.platform()}"
    return platform.platform()


def find_receipt(repository: Repository, report: Mapping[str, Any], *, believed: Collection[str] = ()) -> Entry | None:
    """Return the entry of the drill with that report, of a key that is believed if there is one; None: there is none.

    Whoever holds the repository's key can put an entry of the same name into a chain of their own.
    """
    began = read_instant(report["started_at"])
    found: Entry | None = None
    for signer in signers(repository):
        numbers = sorted(numbers_backwards(repository, signer))
        for number in numbers[_first_since(repository, signer, numbers, began - SLACK) :]:
            entry = _entry(repository, signer, number)
            if entry is None:
                continue
            if entry.at > began + LATEST:
                break
            if is_receipt_of(entry, str(report["id"])):
                if str(entry.key) in believed:
                    return entry
                found = found or entry
    return found


def is_of_report(entry: Entry, report: Mapping[str, Any]) -> bool:
    """Whether a receipt says what the stored report says, which whoever holds the repository's key can replace.

    Notes are left out: some come when the report is stored already.
    """
    signed = entry.event["details"]["report"]
    stored = json.loads(json.dumps(receipt_details(report, version="")["report"]))
    return {**signed, "notes": None} == {**stored, "notes": None}


def is_receipt_of(entry: Entry, drill_id: str) -> bool:
    """Whether an entry holds the report of that drill."""
    details = entry.event.get("details")
    report = details.get("report") if isinstance(details, dict) else None
    return entry.event.get("what") == WHAT and isinstance(report, dict) and report.get("id") == drill_id


def _first_since(repository: Repository, signer: str, numbers: Sequence[int], since: datetime) -> int:
    """Return the index of the first entry that is not older; the next that opens speaks for one that does not."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        entries = (_entry(repository, signer, number) for number in numbers[middle:high])
        entry = next((entry for entry in entries if entry is not None), None)
        if entry is not None and entry.at < since:
            low = middle + 1
        else:
            high = middle
    return low


def _entry(repository: Repository, signer: str, number: int) -> Entry | None:
    with suppress(ObjectCorrupt, ObjectMissing):  # that one is cut off or damaged is for `audit verify` to tell
        return entry_at(repository, signer, number)
    return None


def write_receipt(entry: Entry, directory: Path) -> None:
    """Write the three files; nothing that exists is touched. Raises DirectoryNotEmpty, Refused."""
    files = {DOCUMENT: entry.document, SIGNATURE: entry.signature, SIGNER: entry.key.pem()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with (directory / name).open("xb") as file:
                file.write(content)
    except FileExistsError as error:
        raise DirectoryNotEmpty(f"'{error.filename}' exists", hint="A receipt goes where there is none yet.") from error
    except OSError as error:
        raise Refused(f"no receipt can be written to '{directory}': {error.strerror}") from error
