from __future__ import annotations

import pytest

from pgvault.errors import StoreUnreachable
from pgvault.pipeline.seal import RepositoryKey
from pgvault.repository.keys import REST_SECONDS, Credential, Keyring, RefreshedKeys

OLD, NEW = RepositoryKey(1, bytes(32)), RepositoryKey(2, bytes([1]) * 32)


class Documents:
    """The key documents, and how often they were read."""

    def __init__(self) -> None:
        self.keys = {1: OLD}
        self.reads = 0
        self.now = 0.0
        self.is_down = False

    def reread(self) -> dict[int, RepositoryKey]:
        self.reads += 1
        if self.is_down:
            raise StoreUnreachable("the store does not answer")
        return dict(self.keys)

    def opened(self) -> RefreshedKeys:
        return RefreshedKeys(self.keys, self.reread, monotonic=lambda: self.now)


def test_key_of_a_rotation_that_came_later_is_found() -> None:
    """A process that opened the repository before a rotation reads what was sealed after it."""
    documents = Documents()
    keys = documents.opened()
    documents.keys[2] = NEW

    assert keys[1] == OLD
    assert documents.reads == 0
    assert keys[2] == NEW
    assert (2 in keys, keys.get(2), len(keys), sorted(keys)) == (True, NEW, 2, [1, 2])
    assert documents.reads == 1


def test_key_that_nobody_knows_costs_one_look_a_minute() -> None:
    """A header that names some key id can not make us ask the store for each object."""
    documents = Documents()
    keys = documents.opened()

    assert 7 not in keys
    assert keys.get(8) is None
    assert documents.reads == 1
    documents.now += REST_SECONDS
    assert 7 not in keys
    assert documents.reads == 2


def test_store_that_does_not_answer_makes_the_key_one_that_is_not_at_hand() -> None:
    """What can be read without it is read."""
    documents = Documents()
    documents.is_down = True
    keys = documents.opened()

    assert 2 not in keys
    with pytest.raises(KeyError):
        keys[2]


def test_secrets_do_not_print_themselves() -> None:
    """A credential in a log or a traceback shows its kind only."""
    assert repr(Credential("raw", bytes(range(32)))) == "Credential(kind='raw')"
    assert "secret" not in repr(Keyring(OLD, {1: OLD}))
