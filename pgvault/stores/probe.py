"""Try whether a store keeps the one promise that everything rests on.

Some S3-compatible stores accept `If-None-Match: *` and ignore it. Two backups, or two archivers after a
failover, would then overwrite each other without anybody hearing of it. So `init` and `check` try.
One store that passes may still be racy within; the probe shows that the header is obeyed, no more.
"""

from __future__ import annotations

import secrets

from pgvault.errors import ObjectExists, StoreUnfit
from pgvault.stores.base import ObjectStore
from pgvault.stores.commit import put_object


def probe_put_if_absent(store: ObjectStore, prefix: str) -> None:
    """Write a fresh key under `prefix` twice. Raises StoreUnfit unless the second write fails and changes nothing."""
    key = f"{prefix}/{secrets.token_hex(16)}"
    first = secrets.token_bytes(32)
    put_object(store, key, first)
    try:
        try:
            store.put_if_absent(key, secrets.token_bytes(32))
        except ObjectExists:
            if store.get(key) == first:
                return
        raise StoreUnfit(
            f"store {store.url} overwrites an object that it was told not to",
            hint="A store must obey If-None-Match to be a deciding copy; it may be a further copy.",
        )
    finally:
        store.delete(key)
