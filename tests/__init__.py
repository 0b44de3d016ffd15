"""Tests mirror the package: tests/postgres/test_lsn.py is about pgvault/postgres/lsn.py."""
