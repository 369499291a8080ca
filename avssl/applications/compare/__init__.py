"""Results of many runs and protocols side by side: what predicts transfer, and when pretraining is worth it."""
