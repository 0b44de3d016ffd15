"""One table back: out of a physical backup and its WAL, by way of a scratch server, into a new name or a file."""
