"""Ten processes of one host that record something at once leave one chain."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pgvault.audit.chain import entry_at, next_number
from pgvault.audit.facts import gather
from pgvault.audit.signer import SigningKey
from pgvault.audit.trust import Trust
from pgvault.audit.verify import judge
from pgvault.process import run
from tests.archive import ROOT, Archive

PROCESSES = 10
EACH = 10

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pgvault.audit.chain import append
from pgvault.cli.auditing import signing_key
from pgvault.cli.opening import open_from
from pgvault.config import load_config

loaded = load_config(Path(sys.argv[1]))
repository, key = open_from(loaded), signing_key(loaded.audit)
for turn in range(int(sys.argv[3])):
    event = {"what": "backup", "result": "ok", "details": {"process": int(sys.argv[2]), "turn": turn}}
    append(repository, event, key=key, at=datetime.now(UTC))
"""


@pytest.mark.endurance
def test_ten_processes_at_once_give_one_chain(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry lost, none twice, no hole and no fork; and they agree on the key that none of them had before."""
    state = archive.config.parent / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))

    def write(number: int) -> None:
        words = [sys.executable, "-P", "-c", WRITER, str(archive.config), str(number), str(EACH)]
        run(words, timeout=300, env={"XDG_STATE_HOME": str(state), "PYTHONPATH": str(ROOT)})

    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(write, range(PROCESSES)))

    file = state / "pgvault" / "audit.key"
    public = SigningKey.decode(file.read_bytes(), where=str(file)).public
    trust = Trust.of({"here": str(public)}, None)
    verdict = judge(gather(archive.repository), trust, now=datetime.now(UTC))
    written = [
        entry_at(archive.repository, public.signer, number).event["details"]
        for number in range(next_number(archive.repository, public.signer))
    ]
    assert verdict.is_proven, verdict.remarks
    assert [(chain.first, chain.last) for chain in verdict.chains] == [(0, PROCESSES * EACH - 1)]
    assert {(each["process"], each["turn"]) for each in written} == {
        (process, turn) for process in range(PROCESSES) for turn in range(EACH)
    }
