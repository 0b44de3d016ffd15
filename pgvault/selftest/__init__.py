"""Whether drills on this host can fail: faults planted into a throw-away cluster, each caught for its own reason."""
