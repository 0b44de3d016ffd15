"""What was done to the repository, by whom and from where: signed, chained, never changed."""
