"""What a drill shall go to, out of the command line or the configuration: one aim for each drill.

--to T            latest, last-good, oldest, random, a time, '10 minutes ago'; can be said again
--random [N]      N moments drawn evenly from all that can be restored, else one
--oldest          the end of the first backup
drill: {targets}  the same words as --to, where none of these is said
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from typer.core import TyperCommand

from pgvault.drill.choosing import Aim, OldestAim, RandomAim
from pgvault.errors import UsageError
from pgvault.recovery.target import parse_moment

RANDOM, OLDEST = "random", "oldest"
RANDOM_MOST = 100
SEED_BITS = 32


class OptionalNumber(TyperCommand):
    """A command whose --random may stand without its number: typer's parser wants one for every option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words with a 1 where the number is left out."""
        return super().parse_args(ctx, list(with_number(args)))


def with_number(args: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line, a 1 behind each --random without a number."""
    for word, following in zip(args, [*args[1:], ""], strict=False):  # there may be no word at all
        yield word
        if word == "--random" and not following.isdecimal():
            yield "1"


@dataclass(frozen=True, slots=True)
class AimWords:
    """What the command line says."""

    to: tuple[str, ...] = ()
    random: int | None = None
    oldest: bool = False
    seed: int | None = None

    @property
    def is_said(self) -> bool:
        """Whether it says anything of targets."""
        return bool(self.to) or self.random is not None or self.oldest


def parse_aims(words: AimWords, *, configured: Sequence[str], zone: str, now: datetime) -> tuple[Aim, ...]:
    """Return one aim for each drill, none twice. Raises TargetInvalid, UsageError."""
    texts = list(words.to) if words.is_said else list(configured)
    texts += [RANDOM] * (words.random or 0) + [OLDEST] * words.oldest
    seed = secrets.randbits(SEED_BITS) if words.seed is None else words.seed
    if words.seed is not None and not any(_is(text, RANDOM) for text in texts):
        raise UsageError("--seed draws nothing without --random", hint="Or say --to with the moment itself.")
    aims: list[Aim] = []
    for text in texts:
        if _is(text, RANDOM):
            aims.append(RandomAim(seed, sum(isinstance(aim, RandomAim) for aim in aims)))
        elif _is(text, OLDEST):
            aims.append(OldestAim())
        else:
            aims.append(parse_moment(text, zone=zone, now=now))
    return tuple(dict.fromkeys(aims))


def _is(text: str, word: str) -> bool:
    return text.strip().lower() == word
