"""Whether a backup's data can be read where it lies, or must be thawed first.

One pack is asked for, the last: `expire` moves the last one of a backup last (expire/cold.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from pgvault.errors import ObjectMissing, StoreDenied, StoreUnreachable
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.stores.base import ColdStore
from pgvault.stores.cold import thaw_hint


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy in which an object must be thawed before it can be read."""

    copy: str
    storage_class: str
    is_thawing: bool

    def __str__(self) -> str:
        state = "is being thawed" if self.is_thawing else "must be thawed before it can be read"
        return f"its data lies in {self.storage_class} in copy {self.copy!r} and {state}"

    @property
    def hint(self) -> str:
        """What to do, and how long it takes."""
        return thaw_hint(self.storage_class)


def find_frozen(repository: Repository, path: str) -> tuple[tuple[Frozen, ...], bool]:
    """Return the copies that hold an object frozen, and whether another one may have it readable.

    A copy that does not answer, or may not be asked, is taken for one that has it: reading tells.
    """
    frozen: list[Frozen] = []
    is_readable = False
    for copy in repository.copies:
        try:
            found = _look(copy, path)
        except ObjectMissing:
            continue
        except (StoreDenied, StoreUnreachable):
            found = None
        if found is None:
            is_readable = True
        else:
            frozen.append(found)
    return tuple(frozen), is_readable


def require_readable(repository: Repository, path: str) -> None:
    """Raise StoreDenied where every copy that holds an object holds it frozen."""
    frozen, is_readable = find_frozen(repository, path)
    if frozen and not is_readable:
        raise StoreDenied(f"backup can not be read: {frozen[0]}", hint=frozen[0].hint)


def _look(copy: Copy, path: str) -> Frozen | None:
    """Return how a copy holds an object, None: it can be read. Raises ObjectMissing."""
    if not isinstance(copy.store, ColdStore):
        copy.store.size(path)
        return None
    state = copy.store.state(path)
    return None if state.is_readable else Frozen(copy.name, state.storage_class, state.is_thawing)
