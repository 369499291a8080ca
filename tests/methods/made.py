"""Batches that several tests use."""

import torch

from avssl.clips import Clips
from avssl.pixels import MEAN, STD


def of(pictures, clips=1, frames=1):
    """Pictures ``[B N T, 3, H, W]`` in [0, 1], rounded to uint8, as normalised clips."""
    video = (255 * pictures).round().to(torch.uint8).unflatten(0, (-1, clips, frames))
    return Clips(video, torch.zeros(video.shape[:3]).double()).normalised(torch.tensor(MEAN), torch.tensor(STD))


def numbered(size):
    """``[1, 3, size, size]``: each pixel says its number."""
    return torch.arange(float(size**2)).view(1, 1, size, size).expand(1, 3, -1, -1)


def clips_of(b, n, t=8, size=32, times=None):
    """Noise ``[b, n, t, 3, size, size]``, a frame a second."""
    torch.manual_seed(3)
    times = torch.arange(t).double().expand(b, n, t) if times is None else times
    return Clips(torch.randn(b, n, t, 3, size, size), times)
