"""The probe finds stores that do not keep put-if-absent, in whichever way."""

from __future__ import annotations

import pytest

from pgvault.errors import ObjectExists, StoreUnfit
from pgvault.stores.probe import probe_put_if_absent
from tests.fakes import MemoryStore


class Overwriting(MemoryStore):
    """Takes every put."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        self.objects.pop(key, None)
        super().put_if_absent(key, body)


class Lying(MemoryStore):
    """Takes every put, and says of the second that it did not."""

    def put_if_absent(self, key: str, body: bytes) -> None:
        is_taken = key in self.objects
        self.objects[key] = body
        if is_taken:
            raise ObjectExists(key)


@pytest.mark.parametrize("kind", [Overwriting, Lying])
def test_a_store_that_overwrites_is_unfit(kind: type[MemoryStore]) -> None:
    """Whether it says so or not, a store that overwrites can't decide; the probe cleans up."""
    store = kind()

    with pytest.raises(StoreUnfit):
        probe_put_if_absent(store, "probe")

    assert store.objects == {}


def test_a_lost_answer_does_not_make_a_store_unfit() -> None:
    """The probe's own first put may be repeated."""
    store = MemoryStore(lose_answers={1})

    probe_put_if_absent(store, "probe")

    assert store.objects == {}
