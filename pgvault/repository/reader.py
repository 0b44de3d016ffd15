"""All copies of a repository read as one: what one copy lacks, or holds damaged, comes from the next.

    read       the current bytes of each copy, in order ─► older versions, oldest first, of each copy that keeps some
               The first that pass the caller's check are taken; what was wrong before them is kept as *damage*.
    names      of all copies together: what one lost, another still lists

Absence is what the first copy says: an object is missing when the first copy answered that it is, and nobody has it;
while the first copy does not answer, nobody knows. Whoever lists learns from `silent` whose names are left out.
A copy that made us wait in vain is left alone for a while: a dead region must not cost one wait for each object. The
first is asked all the same where no other has the object. Older versions count since a lock protects a version and
not its key: over a locked object anybody may put other bytes, and readers see those.

Nothing is repaired here (`verify --repair` does that), and a check that passes wrong bytes is no check: no two objects
are ever compared.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import Lock
from typing import Generic, TypeVar

from pgvault.errors import (
    FormatUnsupported,
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
    WrongKey,
)
from pgvault.repository.copies import Copy
from pgvault.repository.damage import Damage
from pgvault.stores.base import ObjectEntry, ObjectStore, VersionedStore

logger = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[bytes], T]  # opens what was read; raises one of DAMAGE
DAMAGE = (FormatUnsupported, ObjectCorrupt, WrongKey)
SILENCE = (StoreDenied, StoreUnreachable)
REST_FACTOR = 5.0  # a copy that made us wait in vain is left alone for so many times as long …
REST_SECONDS = 60.0  # … and no longer than that
SAID_MAX = 10  # objects of one copy that are named in the log


@dataclass(frozen=True, slots=True)
class _Found(Generic[T]):
    value: T  # which may be None
    copy: Copy
    is_older: bool = False


@dataclass(frozen=True, slots=True)
class _Silence:
    error: PgvaultError
    until: float  # monotonic; it is not asked before


class Reader:
    """Reads objects from whichever copy has them whole. May be used from several threads."""

    def __init__(self, copies: Sequence[Copy], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._copies = tuple(copies)
        self._monotonic = monotonic
        self._lock = Lock()
        self._silences: dict[str, _Silence] = {}  # by copy
        self._damages: dict[tuple[str, str], Damage] = {}  # by copy and path
        self._said: dict[str, int] = {}  # by copy: objects named in the log
        self._unversioned: set[str] = set()  # copies whose older versions can not be listed

    @property
    def damages(self) -> tuple[Damage, ...]:
        """What was read from another place than it should have been, so far."""
        with self._lock:
            return tuple(self._damages.values())

    @property
    def silent(self) -> dict[str, PgvaultError]:
        """The copies that did not answer when they were last asked, and what they said."""
        with self._lock:
            return {name: silence.error for name, silence in self._silences.items()}

    @property
    def order(self) -> tuple[str, ...]:
        """The copies' names as they are best asked by whoever comes next: those that did not answer last."""
        silent = self.silent
        names = [copy.name for copy in self._copies]
        return (*(name for name in names if name not in silent), *(name for name in names if name in silent))

    def read(self, path: str, check: Check[T]) -> T:
        """Return what `check` makes of an object.

        Raises what was wrong in the first copy: ObjectMissing, what `check` raised, StoreUnreachable, StoreDenied.
        """
        return self._first(path, lambda store: check(store.get(path)), check)

    def read_range(self, path: str, start: int, length: int, check: Check[T]) -> T:
        """As `read`, of `length` bytes from offset `start`, fewer only at the object's end."""

        def check_part(body: bytes) -> T:
            return check(body[start : start + length])

        return self._first(path, lambda store: check(store.get_range(path, start, length)), check_part)

    def size(self, path: str) -> int:
        """Return an object's length in bytes, in the first copy that has it: nobody looked inside. Raises as `read`."""
        return self._first(path, lambda store: store.size(path), None)

    def names(self, prefix: str) -> list[str]:
        """Return, sorted, the names one level under `prefix`, of all copies that answer. Raises when none does."""
        return sorted({name for names in self._each(lambda store: store.children(prefix)) for name in names})

    def entries(self, prefix: str) -> Iterator[ObjectEntry]:
        """Yield every object under `prefix`, sorted by key, of all copies that answer; raises when none does.

        Sizes are those of the first copy that lists the object. Nothing is held: a copy may fall silent on the way,
        and `silent` tells it afterwards.
        """
        copies = list(self._awake()) or list(self._copies)
        silent: list[PgvaultError] = []
        listings = [self._listing(copy, prefix, silent, of=len(copies)) for copy in copies]
        merged = heapq.merge(*listings, key=lambda entry: entry.key)  # stable: equal keys in the order of copies
        return (next(same) for _, same in groupby(merged, key=lambda entry: entry.key))

    def leave_alone(self, name: str, error: PgvaultError, *, waited_seconds: float = REST_SECONDS) -> None:
        """Be told, by whoever asked it, that a copy does not answer."""
        rest = min(REST_FACTOR * waited_seconds, REST_SECONDS)
        with self._lock:
            is_new = name not in self._silences
            self._silences[name] = _Silence(error, self._monotonic() + rest)
        if is_new and len(self._copies) > 1:
            logger.warning("copy %r does not answer, reading goes on without it: %s", name, error)

    def note_damage(self, path: str, error: PgvaultError, *, copy: str, taken_from: str, is_older: bool) -> None:
        """Keep what was wrong, and say the first few."""
        with self._lock:
            is_new = (copy, path) not in self._damages
            self._damages[copy, path] = Damage(copy, path, bare(error), taken_from, is_older)
            said = self._said[copy] = self._said.get(copy, 0) + is_new
        if not is_new or said > SAID_MAX + 1:
            return
        if said > SAID_MAX:
            logger.warning("more objects are missing or damaged in copy %r: they are counted, not named", copy)
            return
        place = f"an older version in copy {taken_from!r}" if is_older else f"copy {taken_from!r}"
        logger.warning("copy %r: %s; taken from %s", copy, error, place)

    def _first(self, path: str, look: Callable[[ObjectStore], T], check: Check[T] | None) -> T:
        errors: dict[str, PgvaultError] = {}
        found = self._look(self._awake(), look, errors)
        first = self._copies[0]
        if found is None and first.name not in errors:  # it rests, and without its word nothing is known
            found = self._look([first], look, errors)
        if found is None and check is not None:
            found = self._look_back(path, check, errors)
        if found is None:
            raise errors[first.name]
        for name, error in errors.items():
            if not isinstance(error, SILENCE):
                self.note_damage(path, error, copy=name, taken_from=found.copy.name, is_older=found.is_older)
        return found.value

    def _look(
        self, copies: Iterable[Copy], look: Callable[[ObjectStore], T], errors: dict[str, PgvaultError]
    ) -> _Found[T] | None:
        """Return the first copy's answer that is whole; what was wrong with those before goes to `errors`."""
        for copy in copies:
            try:
                return _Found(self._ask(copy, look), copy)
            except (ObjectMissing, *DAMAGE, *SILENCE) as error:
                errors[copy.name] = error
        return None

    def _look_back(self, path: str, check: Check[T], errors: dict[str, PgvaultError]) -> _Found[T] | None:
        """Return the oldest version that is whole, of the first copy that keeps one."""
        for copy in self._copies:
            if isinstance(errors.get(copy.name, StoreUnreachable("")), SILENCE) or copy.name in self._unversioned:
                continue
            store = copy.store
            if not isinstance(store, VersionedStore):
                continue
            try:
                found = _oldest_whole(store, path, check)
            except (*SILENCE, StoreUnfit) as error:
                # Listing versions is a right of its own; without it, what the current bytes said stays true.
                self._unversioned.add(copy.name)
                logger.info("older versions in copy %r can not be looked at: %s", copy.name, error)
                continue
            if found is not None:
                return _Found(found[0], copy, is_older=True)
        return None

    def _each(self, ask: Callable[[ObjectStore], T]) -> list[T]:
        copies = list(self._awake()) or list(self._copies)
        answers: list[T] = []
        silent: PgvaultError | None = None
        for copy in copies:
            try:
                answers.append(self._ask(copy, ask))
            except SILENCE as error:
                silent = silent or error
        if silent is not None and not answers:
            raise silent
        return answers

    def _listing(self, copy: Copy, prefix: str, silent: list[PgvaultError], *, of: int) -> Iterator[ObjectEntry]:
        """Yield what a copy lists; end early where it falls silent, unless it is the last `of` so many."""
        began = self._monotonic()
        try:
            for entry in copy.store.list(prefix):
                yield entry
                began = self._monotonic()
            self._note_answer(copy)
        except SILENCE as error:
            self.leave_alone(copy.name, error, waited_seconds=self._monotonic() - began)
            silent.append(error)
            if len(silent) == of:
                raise silent[0] from None

    def _ask(self, copy: Copy, ask: Callable[[ObjectStore], T]) -> T:
        """Ask one copy, and note whether it answers at all."""
        began = self._monotonic()
        try:
            answer = ask(copy.store)
        except SILENCE as error:
            self.leave_alone(copy.name, error, waited_seconds=self._monotonic() - began)
            raise
        except (ObjectMissing, *DAMAGE):
            self._note_answer(copy)
            raise
        self._note_answer(copy)
        return answer

    def _awake(self) -> Iterator[Copy]:
        """Yield the copies to ask now, each looked at when its turn has come; the only one is asked each time."""
        return (copy for copy in self._copies if len(self._copies) == 1 or not self._rests(copy))

    def _rests(self, copy: Copy) -> bool:
        """Tell whether a copy is left alone. Whoever hears first that it is not, asks; all others go on without it."""
        with self._lock:
            silence = self._silences.get(copy.name)
            now = self._monotonic()
            if silence is None:
                return False
            if now < silence.until:
                return True
            self._silences[copy.name] = _Silence(silence.error, now + REST_SECONDS)
            return False

    def _note_answer(self, copy: Copy) -> None:
        with self._lock:
            was_silent = self._silences.pop(copy.name, None) is not None
        if was_silent and len(self._copies) > 1:
            logger.info("copy %r answers again", copy.name)


def bare(error: PgvaultError) -> PgvaultError:
    """Return an error that is kept: without the frames it came through, which hold the bytes that were read."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _oldest_whole(store: VersionedStore, path: str, check: Check[T]) -> tuple[T] | None:
    """Return what `check` makes of the oldest version that passes, but the current one, which did not."""
    for version in store.versions(path):
        if version.key != path or version.is_delete_marker or version.is_latest:
            continue
        try:
            return (check(store.get_version(path, version.id)),)
        except (ObjectMissing, *DAMAGE):
            continue
    return None
