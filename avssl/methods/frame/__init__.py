"""Image pretext tasks, run on single frames."""
