"""Is all well, now? What an operator asks before trouble."""
