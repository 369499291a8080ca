"""avssl: video and audio-visual self-supervised learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avssl.encoders import load_encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    """Bring what needs torch when it is first asked for, so that ``import avssl`` is quick."""
    if name == "load_encoder":
        from avssl.encoders import load_encoder

        return load_encoder
    raise AttributeError(f"module 'avssl' has no attribute {name!r}")
