"""Take a physical backup: start, copy, stop, wait for the WAL, commit."""
