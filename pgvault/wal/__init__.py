"""WAL on its way into the repository (archive_command) and back out of it (restore_command)."""
