"""Seeds derived from numbers."""

from __future__ import annotations

import numpy as np


def key(*numbers: int) -> int:
    """Return a 63-bit seed that depends on all ``numbers`` (each at least 0)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
