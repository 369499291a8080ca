"""Advice for a collection: what self-supervision is worth on these videos, found by trials within a given time."""
