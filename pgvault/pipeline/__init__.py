"""What happens to bytes: source → frame → compress → seal → object; plain functions, no storage."""
