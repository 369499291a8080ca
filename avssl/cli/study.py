"""``avssl study``."""

from __future__ import annotations

from collections.abc import Sequence

from avssl.studies import transfer


def run(words: Sequence[str]) -> None:
    """Make what is missing of a plan, and print its tables."""
    transfer.main(words)
