"""A classifier to take home: `fit` it on labelled videos, `predict` with it, `load_classifier` in Python."""
