"""What `scripts/bench/wal` measures, one module a question."""
