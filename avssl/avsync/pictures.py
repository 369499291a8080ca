"""Pictures within a page."""

from __future__ import annotations

import base64
import html

from torch import Tensor
from torchvision.io import encode_jpeg


def jpeg(picture: Tensor, name: str) -> str:
    """Return ``[3, H, W]`` uint8 as a tag that holds it."""
    data = base64.b64encode(encode_jpeg(picture.contiguous(), 85).numpy().tobytes()).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/jpeg;base64,{data}">'
