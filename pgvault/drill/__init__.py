"""The proof: restore into a scratch instance, recover, look, measure, report."""
