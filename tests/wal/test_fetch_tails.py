"""What a server gets of a segment that was only streamed when its restore was planned."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.errors import ConfigInvalid, ObjectCorrupt, ObjectMissing, OtherCluster
from pgvault.postgres.lsn import MIB
from pgvault.repository import layout
from pgvault.repository.systems import System, record_system
from pgvault.repository.tails import Span, TailInfo, put_tail, remove_tails
from pgvault.repository.walobjects import WalInfo, put_wal
from pgvault.wal.fetch import Budget, FetchOutcome, fetch_live, fetch_wal
from pgvault.wal.fetchplan import FetchPlan, PlannedTail
from tests.archive import AT, SYSTEM, Archive, make_segment, small

SHORT = Budget(seconds=1.0, longest_wait_seconds=0.05)
SEGMENT = small(8)
NAME = SEGMENT.name
TRUTH = make_segment(SEGMENT)
PROMISED = TRUTH[:20_000] + bytes(MIB - 20_000)
SPANS = (Span(0, 8192), Span(8192, 20_000))


def put(archive: Archive, span: Span, content: bytes = TRUTH, *, system: int = SYSTEM) -> None:
    piece = content[span.start : span.end]
    info = TailInfo(SEGMENT, span.start, span.end, system, hashlib.sha256(piece).digest(), AT)
    put_tail(archive.repository, "main", info, content=piece)


def complete(archive: Archive, content: bytes = TRUTH) -> None:
    """The whole segment arrives, and its tails go."""
    digest = hashlib.sha256(content).digest()
    info = WalInfo(NAME, MIB, digest, SYSTEM, 1, SEGMENT.start_lsn, AT, AT)
    put_wal(archive.repository, "main", info, content=content)
    remove_tails(archive.repository, "main", SYSTEM, SEGMENT)


@pytest.fixture
def streamed(archive: Archive) -> Archive:
    """An archive with two tails of segment 8."""
    record_system(archive.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    for span in SPANS:
        put(archive, span)
    return archive


@pytest.fixture
def plan(streamed: Archive) -> FetchPlan:
    """A plan that was made then; it has been on disk."""
    made = streamed.plan(SYSTEM, segment_size=MIB)
    tail = PlannedTail(SPANS, hashlib.sha256(PROMISED).digest())
    ranges = json.loads(f'[["{NAME}", "{NAME}"]]')
    document = replace(made, tails={NAME: tail}).to_json() | {"segments": ranges}
    return FetchPlan.from_json(json.loads(json.dumps(document)))


def fetch(archive: Archive, plan: FetchPlan, directory: Path) -> bytes:
    assert fetch_wal(lambda: archive.repository, plan, NAME, directory / "out", budget=SHORT) is FetchOutcome.DELIVERED
    return (directory / "out").read_bytes()


def test_tails_are_put_together_and_padded(streamed: Archive, plan: FetchPlan, tmp_path: Path) -> None:
    """A whole segment with zeros where nothing was received; and the plan says where that is."""
    assert fetch(streamed, plan, tmp_path) == PROMISED
    assert plan.cut_at(NAME) == SEGMENT.start_lsn + 20_000
    assert plan.cut_at(small(7).name) is None


def test_a_longer_or_a_whole_segment_is_cut_back(streamed: Archive, plan: FetchPlan, tmp_path: Path) -> None:
    """What came after the plan was made is not part of it."""
    put(streamed, Span(0, 40_000))
    remove_tails(streamed.repository, "main", SYSTEM, SEGMENT, within=Span(0, 40_000))
    assert fetch(streamed, plan, tmp_path) == PROMISED
    complete(streamed)
    assert fetch(streamed, plan, tmp_path) == PROMISED


def test_other_bytes_than_planned_are_refused(streamed: Archive, plan: FetchPlan, tmp_path: Path) -> None:
    """A segment that was completed by another server is not what the plan promised."""
    complete(streamed, make_segment(SEGMENT, fill=b"!"))

    with pytest.raises(ObjectCorrupt, match="not what it was when the restore was planned"):
        fetch(streamed, plan, tmp_path)
    assert not (tmp_path / "out").exists()


def test_tails_that_are_gone_are_never_absent(streamed: Archive, plan: FetchPlan, tmp_path: Path) -> None:
    """Promised, and nowhere: an error, since "absent" would end recovery early."""
    for span in SPANS:
        (streamed.root / layout.tail("main", SYSTEM, NAME, start=span.start, end=span.end)).unlink()

    with pytest.raises(ObjectMissing):
        fetch(streamed, plan, tmp_path)


def test_a_tail_of_another_segment_or_system_is_refused(archive: Archive, tmp_path: Path) -> None:
    """Its first page says whose it is, as that of any segment."""
    for content, error in [
        (make_segment(small(9)), ObjectCorrupt),
        (make_segment(SEGMENT, system_identifier=7), OtherCluster),
    ]:
        span = Span(0, 8192 * (2 if error is ObjectCorrupt else 3))
        put(archive, span, content)
        digest = hashlib.sha256(content[: span.end] + bytes(MIB - span.end)).digest()
        made = replace(archive.plan(SYSTEM, segment_size=MIB), tails={NAME: PlannedTail((span,), digest)})
        document = made.to_json() | {"segments": [[NAME, NAME]]}
        with pytest.raises(error):
            fetch(archive, FetchPlan.from_json(document), tmp_path)


def test_a_follower_gets_no_tails(streamed: Archive, tmp_path: Path) -> None:
    """It has no end that was planned: absent makes it wait and ask again, for the whole segment."""
    outcome = fetch_live(lambda: (streamed.repository, "main"), NAME, tmp_path / "out", budget=SHORT)
    assert outcome is FetchOutcome.ABSENT

    complete(streamed)
    outcome = fetch_live(lambda: (streamed.repository, "main"), NAME, tmp_path / "out", budget=SHORT)
    assert outcome is FetchOutcome.DELIVERED
    assert (tmp_path / "out").read_bytes() == TRUTH


@pytest.mark.parametrize(
    "tails", [{NAME: {"spans": ["0-8"], "sha256": "00" * 32}}, {NAME: {"spans": []}}, {NAME: [1]}, []]
)
def test_a_malformed_plan_is_refused(plan: FetchPlan, tmp_path: Path, tails: object) -> None:
    """No traceback, and nothing is guessed."""
    path = tmp_path / "plan"
    path.write_text(json.dumps(plan.to_json() | {"tails": tails}))

    with pytest.raises(ConfigInvalid, match="damaged"):
        FetchPlan.load(path)


def test_a_plan_of_before_has_no_tails(plan: FetchPlan) -> None:
    """A restore that was begun by an older pgvault goes on."""
    document = plan.to_json()
    del document["tails"]

    assert FetchPlan.from_json(document).tails == {}
