from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ConfigInvalid, FormatUnsupported, UsageError
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import SegmentRange, make_ranges
from pgvault.wal.fetchplan import FetchPlan
from tests.archive import SYSTEM, small

PLAN = FetchPlan(
    restore_id="20261121T080000Z-0001",
    cluster="main",
    system_identifier=SYSTEM,
    segment_size=MIB,
    segments=(SegmentRange(small(5), small(7)), SegmentRange(small(7, 10), small(9, 10))),
    histories=("0000000A.history",),
    source={"url": "s3://bucket/prefix", "key": "file:/etc/pgvault/key"},
    taken=("0000000B.history",),
)


def test_a_saved_plan_loads_as_it_was(tmp_path: Path) -> None:
    """Every field survives, and only its owner may read it."""
    path = tmp_path / "plan.json"

    PLAN.save(path)

    assert FetchPlan.load(path) == PLAN
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("000000010000000000000004", False),
        ("000000010000000000000005", True),
        ("000000010000000000000007", True),
        ("000000010000000000000008", False),
        ("0000000A0000000000000008", True),
        ("000000100000000000000008", False),
        ("0000000A.history", True),
        ("0000000B.history", True),
        ("00000010.history", False),
        ("000000010000000000000005.partial", False),
        ("000000010000000000000005.00000028.backup", False),
    ],
)
def test_only_what_is_listed_is_promised(name: str, listed: bool) -> None:
    """Whole names, by timeline and number; a .partial is never its segment."""
    assert PLAN.lists(name) is listed


@pytest.mark.parametrize("name", ["", "RECOVERYXLOG", "0000000100000000000000055", "000000010000000000001000"])
def test_what_is_no_name_is_an_error(name: str) -> None:
    """Not "absent": a server that asks for that is not understood."""
    with pytest.raises(UsageError):
        PLAN.lists(name)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("segments"),
        lambda d: d.update(segment_size=1000),
        lambda d: d.update(segments=[["000000010000000000000007", "000000010000000000000005"]]),
        lambda d: d.update(segments=[["000000010000000000000007", "000000020000000000000009"]]),
        lambda d: d.update(segments=["000000010000000000000007"]),
        lambda d: d.update(system_identifier="x"),
        lambda d: d.pop("pgvault_fetch_plan"),
    ],
)
def test_a_damaged_plan_does_not_load(tmp_path: Path, damage: object) -> None:
    """A plan that can not be read promises nothing, and so nothing may be called absent by it."""
    document = PLAN.to_json()
    damage(document)  # type: ignore[operator]
    (tmp_path / "plan.json").write_text(json.dumps(document))

    with pytest.raises(ConfigInvalid):
        FetchPlan.load(tmp_path / "plan.json")


def test_a_cut_or_missing_plan_does_not_load(tmp_path: Path) -> None:
    """Every prefix of a plan is an error."""
    whole = json.dumps(PLAN.to_json())
    path = tmp_path / "plan.json"
    with pytest.raises(ConfigInvalid):
        FetchPlan.load(path)
    for length in range(0, len(whole), 37):
        path.write_text(whole[:length])
        with pytest.raises(ConfigInvalid):
            FetchPlan.load(path)


def test_a_newer_plan_is_refused(tmp_path: Path) -> None:
    """A version we do not know may mean anything."""
    (tmp_path / "plan.json").write_text(json.dumps(PLAN.to_json() | {"pgvault_fetch_plan": 2}))

    with pytest.raises(FormatUnsupported):
        FetchPlan.load(tmp_path / "plan.json")


@given(st.sets(st.builds(WalSegment, st.integers(1, 3), st.integers(0, 40), st.just(MIB))))
def test_ranges_hold_exactly_the_segments(segments: set[WalSegment]) -> None:
    """Each segment lies in one range, nothing else does, and neighbours are never two ranges."""
    ranges = make_ranges(segments)

    everything = [WalSegment(t, n, MIB) for t in range(1, 4) for n in range(42)]
    assert {s for s in everything if any(s in r for r in ranges)} == segments
    assert all(a.last.next() != b.first for a, b in pairwise(ranges))
