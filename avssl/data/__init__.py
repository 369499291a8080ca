"""Collections of videos, the seconds read from them, and the batches made of those."""
