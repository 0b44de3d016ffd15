"""Change which keys open a repository: slots come and go, repository keys are rotated, sheets are exported."""
