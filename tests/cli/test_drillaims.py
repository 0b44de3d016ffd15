from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.cli.drillaims import AimWords, parse_aims, with_number
from pgvault.config import parse_config
from pgvault.drill.choosing import Aim, OldestAim, RandomAim
from pgvault.errors import ConfigInvalid, TargetInvalid, UsageError
from pgvault.recovery.target import LastGoodTarget, LatestTarget, TimeTarget

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def parse(words: AimWords, *configured: str) -> tuple[Aim, ...]:
    return parse_aims(words, configured=configured or ("latest",), zone="UTC", now=NOW)


def test_several_targets_are_several_drills() -> None:
    """In the order of the options; one seed draws all random moments."""
    words = AimWords(("latest", "10 minutes ago", "Last-Good"), random=2, oldest=True, seed=7)

    latest, ago, good, *rest = parse(words)

    assert (latest, good) == (LatestTarget(), LastGoodTarget())
    assert isinstance(ago, TimeTarget)
    assert ago.at == NOW - timedelta(minutes=10)
    assert rest == [RandomAim(7, 0), RandomAim(7, 1), OldestAim()]


def test_without_words_the_configuration_says() -> None:
    """For cron; any word of a target on the command line is in its place."""
    assert parse(AimWords(seed=1), "latest", "random", "random", "oldest") == (
        LatestTarget(),
        RandomAim(1, 0),
        RandomAim(1, 1),
        OldestAim(),
    )
    assert parse(AimWords(oldest=True), "latest", "random") == (OldestAim(),)
    assert parse(AimWords(("oldest",), oldest=True)) == (OldestAim(),)


def test_a_seed_is_drawn_where_none_is_said() -> None:
    """By chance, and the same for all draws of a command."""
    first, second = parse(AimWords(random=2))

    assert isinstance(first, RandomAim)
    assert isinstance(second, RandomAim)
    assert first.seed == second.seed
    assert parse(AimWords(random=2)) != (first, second)


def test_nonsense_is_refused() -> None:
    """Before anything is drilled."""
    with pytest.raises(TargetInvalid, match="'soon' is not a time"):
        parse(AimWords(("soon",)))
    with pytest.raises(UsageError, match="--seed draws nothing"):
        parse(AimWords(("latest",), seed=1))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--random"], ["--random", "1"]),
        (["--random", "2", "--oldest"], ["--random", "2", "--oldest"]),
        (["--random", "--oldest"], ["--random", "1", "--oldest"]),
        (["--to", "latest"], ["--to", "latest"]),
    ],
)
def test_random_may_stand_without_its_number(words: list[str], expected: list[str]) -> None:
    """Then it is one."""
    assert list(with_number(words)) == expected


@pytest.mark.parametrize("targets", [["newest"], [], ["random 2"]])
def test_configured_targets_are_words_of_to(targets: list[str]) -> None:
    """A typo is found when the configuration is read, not by the next drill."""
    with pytest.raises(ConfigInvalid):
        configured(targets)
    assert configured(["latest", "random", "oldest", "last-good", "1 hour ago"])


def configured(targets: list[str]) -> tuple[str, ...]:
    document = {
        "repository": {"key": "env:K", "copies": {"primary": {"url": "file:///srv"}}},
        "clusters": {"main": {"dsn": "", "drill": {"targets": targets}}},
    }
    return parse_config(document, where="c.yaml").clusters["main"].drill.targets
