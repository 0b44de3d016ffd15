"""Put an object so that a repeated put is no conflict.

A store answers "exists" for a lost race and for a retry after a lost answer alike. Every sealed object
begins with a header that holds a random 256-bit salt and a nonce:

    header[128] = magic | … salt[32] | nonce[16] …         pipeline/header.py

so one with the same header and the same length is ours. Objects without that header are small and
are compared whole. Whether two *different* sealed objects hold the same plaintext is not asked here.
"""

from __future__ import annotations

import logging
from enum import Enum

from pgvault.errors import ObjectExists, ObjectMissing
from pgvault.pipeline.header import HEADER, MAGIC
from pgvault.stores.base import ObjectStore

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # an object in our way that is gone when we look was deleted meanwhile


class Outcome(Enum):
    """How an object came to be there."""

    CREATED = "created"
    OURS = "ours"  # a put of these very bytes had succeeded before


def put_object(store: ObjectStore, key: str, body: bytes) -> Outcome:
    """Store `body` under `key`, durable when this returns. Raises ObjectExists if the key holds anything else."""
    for _ in range(ATTEMPTS - 1):
        try:
            return put_once(store, key, body)
        except ObjectMissing:
            logger.debug("%s was in the way and is gone", key)
    return put_once(store, key, body)


def put_once(store: ObjectStore, key: str, body: bytes) -> Outcome:
    """As `put_object`; raises ObjectMissing when what was in the way vanished before we saw it."""
    try:
        store.put_if_absent(key, body)
    except ObjectExists:
        if not holds(store, key, body):
            raise
        logger.debug("%s was there already, ours", key)
        return Outcome.OURS
    return Outcome.CREATED


def holds(store: ObjectStore, key: str, body: bytes) -> bool:
    """Whether `key` holds the object whose bytes are `body`. Raises ObjectMissing."""
    if store.size(key) != len(body):
        return False
    if body.startswith(MAGIC):
        return store.get_range(key, 0, HEADER.size) == body[: HEADER.size]
    return store.get(key) == body
