"""Bring the copies of a repository up to date: what `pgvault copy` does, and how far a copy is behind."""
