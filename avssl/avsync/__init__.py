"""Building audio-visual sync datasets: from raw recordings to clips whose sound is where it belongs."""
