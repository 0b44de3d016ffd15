"""Logical backups: pg_dump through the same pipeline into the same catalog, and back."""
