"""Is what is stored whole? Everything is read back; nothing is believed from a listing."""
