"""Building audio-visual sync datasets."""
