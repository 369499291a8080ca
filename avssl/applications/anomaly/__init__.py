"""What is odd among videos, by what is normal: pretext tasks, features and sound as detectors."""
