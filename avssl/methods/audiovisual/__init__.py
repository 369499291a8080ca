"""Audio-visual pretext tasks."""
