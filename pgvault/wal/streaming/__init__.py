"""Receive WAL by streaming replication: `pgvault wal stream`."""
