"""How classifiers stand wrong labels, damaged video, attacks and strange classes, and whether they know it."""
