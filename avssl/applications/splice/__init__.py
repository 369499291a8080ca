"""Pictures and videos put together from several: which patches come from which camera."""
