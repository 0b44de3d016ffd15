"""Tell whoever must know what `status` finds: once, again while it stays broken, and when it is over."""
