"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""
