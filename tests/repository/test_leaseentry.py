"""What a series of entries says about its holder, over arbitrary histories."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import FormatUnsupported, ObjectCorrupt
from pgvault.postgres.lsn import Lsn
from pgvault.repository.keys import encode_document
from pgvault.repository.leaseentry import (
    CLOCKS_APART,
    Claim,
    LeaseEntry,
    State,
    Verdict,
    Watch,
    decode_entry,
    encode_entry,
    judge,
    look_again,
)
from pgvault.repository.repository import Repository
from pgvault.repository.who import Holder, Presence
from tests.repository.holders import START

HOLDER = Holder("db1", "boot", 1, 7, 1000, "backup")
CLAIM = Claim("main", "x", ("y",), {7: Lsn(0x5000028)})
TTL = 120.0


def entry(state: State = State.HELD, number: int = 3) -> LeaseEntry:
    until = START if state is State.LEFT else None
    return LeaseEntry("backup-main", number, 1, "id", state, TTL, START, HOLDER, CLAIM, until)


beats = st.lists(st.floats(0.1, 400.0), min_size=1, max_size=12)
looks = st.lists(st.floats(0.1, 200.0), min_size=1, max_size=40)


@given(beats, looks, st.booleans())
def test_holder_that_beats_in_time_is_never_called_dead(pauses: list[float], waits: list[float], hidden: bool) -> None:
    """And one that was silent for its time to live, as its observer saw it, always is; whatever the intervals."""
    presence = Presence.UNKNOWN if hidden else Presence.RUNS
    beaten = [sum(pauses[:count]) for count in range(len(pauses) + 1)]
    watch: Watch | None = None
    seen_at: dict[int, float] = {}
    at = 0.0
    for wait in waits:
        at += wait
        number = sum(beat <= at for beat in beaten) - 1
        watch = look_again(watch, number, answered=at)
        verdict = judge(entry(number=number), watch, asked=at, now=START, presence=presence)
        seen_at.setdefault(number, at)
        if verdict is Verdict.DEAD:
            assert hidden
            assert at - beaten[number] >= TTL  # it did miss all its heartbeats
            assert len(seen_at) == 1
        if verdict is Verdict.UNKNOWN:
            assert at - seen_at[number] < TTL
        if len(seen_at) > 1 or not hidden:
            assert verdict is Verdict.LIVE


@given(
    st.sampled_from(State),
    st.sampled_from(Presence),
    st.none() | st.builds(Watch, st.integers(0, 9), st.floats(0, 1e6), st.booleans()),
    st.floats(0, 1e6),
    st.timedeltas(min_value=timedelta(days=-9000), max_value=timedelta(days=9000)),
)
def test_only_a_left_pin_knows_the_time_of_day(
    state: State, presence: Presence, watch: Watch | None, asked: float, jump: timedelta
) -> None:
    """Whatever a wall clock shows, a held lease is judged the same; a pin that was left is obeyed until it is over."""
    verdict = judge(entry(state), watch, asked=asked, now=START + jump, presence=presence)

    if state is State.LEFT:
        assert verdict is (Verdict.LIVE if jump < CLOCKS_APART else Verdict.FREE)
    else:
        assert verdict is judge(entry(state), watch, asked=asked, now=START, presence=presence)
    if state is State.RELEASED:
        assert verdict is Verdict.FREE
    if presence is Presence.GONE and state is State.HELD:
        assert verdict is Verdict.DEAD


def test_no_entry_is_free() -> None:
    """Nobody has ever held it."""
    assert judge(None, None, asked=0, now=START, presence=Presence.UNKNOWN) is Verdict.FREE


def test_entry_reads_back(repository: Repository) -> None:
    """All of it."""
    body = encode_entry(repository, entry())

    assert decode_entry(repository, "backup-main", 3, body=body) == entry()


def test_changed_entry_does_not_read(repository: Repository) -> None:
    """Elsewhere, edited, unsigned, of a newer version, or no entry at all."""
    body = encode_entry(repository, entry())

    for name, number, bad in [
        ("backup-main", 4, body),
        ("backup-other", 3, body),
        ("backup-main", 3, body.replace(b'"held"', b'"left"')),
        ("backup-main", 3, body[:-3]),
        ("backup-main", 3, encode_document({"pgvault_lease": 1})),
    ]:
        with pytest.raises(ObjectCorrupt):
            decode_entry(repository, name, number, body=bad)
    with pytest.raises(FormatUnsupported):
        decode_entry(repository, "backup-main", 3, body=body.replace(b'"pgvault_lease": 1', b'"pgvault_lease": 2'))
