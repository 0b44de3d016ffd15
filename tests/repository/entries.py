"""An entry of every kind that an inventory has."""

from __future__ import annotations

from datetime import UTC, datetime

from pgvault.postgres.inventory import (
    CollationEntry,
    DatabaseEntry,
    ExtensionEntry,
    RelationEntry,
    RoleEntry,
    ServerEntry,
    UnreadEntry,
)
from pgvault.postgres.lsn import Lsn
from pgvault.repository.inventory import Entry

AT = datetime(2026, 1, 15, 10, 42, 0, 5, tzinfo=UTC)
SERVER = ServerEntry(
    version="PostgreSQL 18.6 on x86_64-pc-linux-gnu",
    read_at=AT,
    lsn=Lsn.parse("16/B3000200"),
    next_xid=2**33,
    settings={"dynamic_library_path": "$libdir", "shared_preload_libraries": "pg_stat_statements"},
    libc="2.36",
)
ROLE = RoleEntry("app – Käse", ("inherit", "login"), -1, ("pg_monitor",), is_settled=True)
DATABASE = DatabaseEntry(5, "postgres", "UTF8", "libc", "de_DE.utf8", "de_DE.utf8", None, "2.31", "2.36", connects=True)
UNREAD = UnreadEntry(5, "permission denied")
EXTENSION = ExtensionEntry(5, "pgcrypto", "1.3", "public", None, is_settled=True)
COLLATION = CollationEntry(5, 16390, "public", "german", "icu", "153.14", "153.120")
RELATION = RelationEntry(5, 16384, 16401, "r", "public", "orders\udcff", 1e6, 1000001, 20000, is_logged=True)
ENTRIES: tuple[Entry, ...] = (SERVER, ROLE, DATABASE, UNREAD, EXTENSION, COLLATION, RELATION)
