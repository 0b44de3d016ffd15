"""Streamed tails under verify: opened and compared, and a hole between them is told, not red."""

from __future__ import annotations

import hashlib

from pgvault.errors import OtherCluster
from pgvault.repository import layout
from pgvault.repository.tails import Span, TailInfo, put_tail
from tests.archive import AT, SYSTEM, make_segment
from tests.verify.vault import LAST, Vault, segment_of

NEXT = segment_of(LAST + 1)


def put(vault: Vault, span: Span, content: bytes | None = None, *, number: int = LAST + 1) -> str:
    segment = segment_of(number)
    piece = (make_segment(segment) if content is None else content)[span.start : span.end]
    info = TailInfo(segment, span.start, span.end, SYSTEM, hashlib.sha256(piece).digest(), AT)
    put_tail(vault.repository, "main", info, content=piece)
    return layout.tail("main", SYSTEM, segment.name, start=span.start, end=span.end)


def test_whole_tails_pass(vault: Vault) -> None:
    """All of them are opened; before the first page's header is complete there is nothing to compare."""
    for span in (Span(0, 40), Span(40, 9000), Span(8192, 20_000)):
        put(vault, span)
    put(vault, Span(0, 16), number=LAST + 2)
    report = vault.verify()

    assert (report.problems, report.notes, report.tail_count) == ([], [], 4)


def test_a_damaged_tail_is_a_problem(vault: Vault) -> None:
    """Also one behind a hole, and one that no chain needs."""
    damaged = [put(vault, span) for span in (Span(0, 9000), Span(8, 32), Span(9008, 20_000))]
    for key in damaged:
        hurt = vault.copy()
        hurt.changed(key, -50)
        assert [problem.what for problem in hurt.verify().problems] == [f"WAL {NEXT.name}"]


def test_tails_that_disagree_or_are_anothers_are_problems(vault: Vault) -> None:
    """Two servers, one timeline; or another cluster's WAL."""
    other = vault.copy()
    put(vault, Span(0, 9000))
    put(vault, Span(8192, 20_000), make_segment(NEXT, fill=b"!"))
    (problem,) = vault.verify().problems
    assert "not what another tail says" in str(problem.error)

    put(other, Span(0, 9000), make_segment(NEXT, system_identifier=7))
    (problem,) = other.verify().problems
    assert isinstance(problem.error, OtherCluster)


def test_a_hole_and_leftovers_are_notes(vault: Vault) -> None:
    """Nothing that was promised is lost by either."""
    put(vault, Span(0, 9000))
    put(vault, Span(9008, 20_000))
    put(vault, Span(0, 9000), number=LAST)
    report = vault.verify()

    assert report.problems == []
    assert sorted(report.notes) == [
        f"WAL segment {segment_of(LAST).name} is archived, and its tails are still there",
        f"tails of WAL segment {NEXT.name} lie behind a hole, of use to nobody",
    ]
