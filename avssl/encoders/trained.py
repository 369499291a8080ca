"""An encoder of an earlier run as a class to name in a config."""

from __future__ import annotations

from avssl.encoders.base import Encoder
from avssl.encoders.export import load_encoder


def Avssl(run: str) -> Encoder:
    """Return the encoder that an earlier run has exported, to continue or to evaluate.

    Args:
        run: run folder, export folder or weights file; see `load_encoder`.

    Raises:
        FileNotFoundError: if there is no export.
        ValueError: if the file is damaged, or its tensors do not fit.
    """
    return load_encoder(run)
