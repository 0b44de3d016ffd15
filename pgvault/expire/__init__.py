"""Which backups and which WAL go, and when: plan, then apply."""
