"""Pretext tasks that need sound and picture."""
