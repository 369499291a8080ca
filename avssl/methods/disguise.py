"""Augmentations that remove shortcuts, drawn on the device from torch's global random numbers.

They are part of the task, and so are applied to held-out videos too. None depends on the target: the random draws are
independent of the order and the pace of frames.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.pixels import constants


def random_crops(pictures: Tensor, height: int, width: int) -> Tensor:
    """Crop each of ``[M, ..., H, W]`` at its own random position, ``[M, ..., height, width]``.

    With the frames of a clip as M pictures, borders and a panning camera no longer reveal the order of frames between
    which they move by less than the room for cropping.
    """
    count, room = len(pictures), (pictures.shape[-2] - height, pictures.shape[-1] - width)
    top, left = (torch.randint(side + 1, (count,), device=pictures.device) for side in room)
    rows = (top[:, None] + torch.arange(height, device=pictures.device))[:, :, None]  # [M, height, 1]
    columns = (left[:, None] + torch.arange(width, device=pictures.device))[:, None]  # [M, 1, width]
    which = torch.arange(count, device=pictures.device)[:, None, None]
    cut = pictures.flatten(1, -3)[which, :, rows, columns]  # [M, height, width, C]
    return rearrange(cut, "m h w c -> m c h w").unflatten(1, pictures.shape[1:-2])


def replicate_channel(pictures: Tensor) -> Tensor:
    """Replace all channels of each of ``[M, ..., 3, H, W]`` by one of them, drawn at random.

    Called channel splitting by Lee et al. (ICCV 2017) and channel replication by Kim et al. (AAAI 2019). Colour drift
    and chromatic aberration are differences between channels, and so are removed.
    """
    channel = torch.randint(3, (len(pictures),), device=pictures.device)
    index = channel.view(-1, *[1] * (pictures.ndim - 1)).expand(*pictures.shape[:-3], 1, *pictures.shape[-2:])
    return pictures.gather(-3, index).expand_as(pictures)


def drop_colours(pictures: Tensor) -> Tensor:
    """Replace two channels, drawn at random, of each of ``[M, 3, H, W]`` by noise.

    C. Doersch, A. Gupta, A. A. Efros: Unsupervised Visual Representation Learning by Context Prediction. ICCV 2015,
    section 3.1. The noise is Gaussian, with a hundredth of the standard deviation of the remaining channel.
    """
    kept = torch.randint(3, (len(pictures), 1, 1, 1), device=pictures.device)
    kept = kept == torch.arange(3, device=pictures.device).view(3, 1, 1)  # [M, 3, 1, 1]
    deviation = (kept * pictures.std((2, 3), correction=0, keepdim=True)).sum(1, keepdim=True)  # [M, 1, 1, 1]
    return torch.where(kept, pictures, 0.01 * deviation * torch.randn_like(pictures))


def project_colours(pictures: Tensor) -> Tensor:
    """Remove the green-magenta axis, the direction of most chromatic aberration, from ``[..., 3, H, W]`` RGB.

    Doersch et al. (ICCV 2015), section 3.1: every pixel, with the same scale in all channels, is multiplied by
    ``I - a'a / aa'`` with ``a = [-1, 2, -1]``.
    """
    axis = constants([-1.0, 2.0, -1.0], pictures) / 6**0.5
    onto = torch.eye(3, dtype=pictures.dtype, device=pictures.device) - torch.outer(axis, axis)
    return torch.einsum("ij,...jhw->...ihw", onto, pictures)


def shift_channels(pictures: Tensor, pixels: int) -> Tensor:
    """Shift each channel of ``[M, 3, H, W]`` by up to ``pixels``, ``[M, 3, H - 2 pixels, W - 2 pixels]``.

    M. Noroozi, P. Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles. ECCV 2016,
    section 4.2. Chromatic aberration, a pixel wide, is lost among shifts of two pixels.
    """
    height, width = (side - 2 * pixels for side in pictures.shape[-2:])
    return random_crops(pictures.flatten(0, 1)[:, None], height, width).view(len(pictures), 3, height, width)


def moving_crop(video: Tensor, drift: float) -> Tensor:
    """View ``[M, T, 3, H, W]`` through a window that moves and zooms linearly from the first frame to the last.

    The first and the last window have the same distribution, so the added motion is equally likely in either direction
    of time. It hides that cameras zoom in more often than out, and tilt down more often than up. The window's side is
    smaller than the frame's by at most the fraction ``drift``, below 1.
    """
    clips, frames = video.shape[:2]
    scale = 1 - drift * torch.rand(clips, 2, 1, device=video.device)  # [M, 2, 1], first and last frame
    centre = (1 - scale) * (2 * torch.rand(clips, 2, 2, device=video.device) - 1)  # [M, 2, 2] within [-1, 1]
    share = torch.linspace(0, 1, frames, device=video.device).view(1, -1, 1)
    scale, centre = (ends[:, :1] + share * (ends[:, 1:] - ends[:, :1]) for ends in (scale, centre))  # [M, T, ...]
    theta = torch.cat([torch.diag_embed(scale.expand(-1, -1, 2)), centre[..., None]], -1)  # [M, T, 2, 3]
    pictures = video.flatten(0, 1)
    grid = F.affine_grid(theta.flatten(0, 1), list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved.unflatten(0, (clips, frames))


def flicker(video: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness and grain of each frame of ``[M, T, 3, H, W]`` independently.

    Wang et al. (ECCV 2020) jitter the colours of each frame so that the pace can't be read off low-level statistics. It
    also hides a trace of the codec: intra-coded frames, one every few frames, are sharper than predicted ones.

    Clips are normalised; ``strength`` is the largest relative change of contrast; the largest change of brightness, in
    standard deviations; and the largest standard deviation of the Gaussian noise, drawn per frame.
    """
    shape = (*video.shape[:2], 1, 1, 1)
    contrast, brightness = (1 + strength * (2 * torch.rand(2, *shape, device=video.device) - 1)).unbind()
    grain = strength * torch.rand(shape, device=video.device)
    return video * contrast + (brightness - 1) + grain * torch.randn_like(video)
