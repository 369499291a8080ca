"""Changes to the pixels that take trivial cues away, drawn on the device from torch's global random numbers.

They are part of a task, and so are made on held-out videos too. Each leaves the target alone: what is drawn knows
nothing of the order or the pace of the frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def random_crops(pictures: Tensor, height: int, width: int) -> Tensor:
    """``[M, ..., H, W]`` to ``[M, ..., height, width]``, each of the M cut out at a place of its own.

    With the frames of a clip as M pictures, borders and a camera that pans no longer tell the order of frames that
    are less apart than the crop has room.
    """
    count, room = len(pictures), (pictures.shape[-2] - height, pictures.shape[-1] - width)
    top, left = (torch.randint(side + 1, (count,), device=pictures.device) for side in room)
    rows = (top[:, None] + torch.arange(height, device=pictures.device))[:, :, None]  # [M, height, 1]
    columns = (left[:, None] + torch.arange(width, device=pictures.device))[:, None]  # [M, 1, width]
    which = torch.arange(count, device=pictures.device)[:, None, None]
    flat = pictures.flatten(1, -3)  # [M, C, H, W]
    cut = flat[which, :, rows, columns].permute(0, 3, 1, 2)  # [M, C, height, width]
    return cut.unflatten(1, pictures.shape[1:-2])


def replicate_channel(pictures: Tensor) -> Tensor:
    """``[M, ..., 3, H, W]`` with all three channels equal to one of them, drawn for each of the M.

    Called channel splitting by Lee et al. (ICCV 2017) and channel replication by Kim et al. (AAAI 2019).
    A colour that drifts, and the fringes of a lens, differ between channels: with one channel left, they tell nothing.
    """
    channel = torch.randint(3, (len(pictures),), device=pictures.device)
    index = channel.view(-1, *[1] * (pictures.ndim - 1)).expand(*pictures.shape[:-3], 1, *pictures.shape[-2:])
    return pictures.gather(-3, index).expand_as(pictures)


def drop_colours(pictures: Tensor) -> Tensor:
    """``[M, 3, H, W]`` with two of the three channels replaced by noise, drawn for each of the M.

    C. Doersch, A. Gupta, A. A. Efros: Unsupervised Visual Representation Learning by Context Prediction. ICCV 2015,
    section 3.1. The noise is normal, with a hundredth of the standard deviation of the channel that is kept.
    """
    kept = torch.randint(3, (len(pictures), 1, 1, 1), device=pictures.device)
    kept = kept == torch.arange(3, device=pictures.device).view(3, 1, 1)  # [M, 3, 1, 1]
    deviation = (kept * pictures.std((2, 3), correction=0, keepdim=True)).sum(1, keepdim=True)  # [M, 1, 1, 1]
    return torch.where(kept, pictures, 0.01 * deviation * torch.randn_like(pictures))


def project_colours(pictures: Tensor) -> Tensor:
    """``[..., 3, H, W]`` RGB without what lies between green and magenta, in which most lenses have their fringes.

    Doersch et al. (ICCV 2015), section 3.1: every pixel is multiplied by ``I - a'a / aa'`` with ``a = [-1, 2, -1]``.

    Args:
        pictures: with the same scale in all channels.
    """
    axis = pictures.new_tensor([-1.0, 2.0, -1.0]) / 6**0.5
    onto = torch.eye(3, dtype=pictures.dtype, device=pictures.device) - torch.outer(axis, axis)
    return torch.einsum("ij,...jhw->...ihw", onto, pictures)


def shift_channels(pictures: Tensor, pixels: int) -> Tensor:
    """``[M, 3, H, W]`` to ``[M, 3, H - 2 pixels, W - 2 pixels]``: each channel shifted by up to so many pixels.

    M. Noroozi, P. Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles. ECCV 2016,
    section 4.2. The fringes of a lens, a pixel wide, are lost among shifts of two pixels.
    """
    height, width = (side - 2 * pixels for side in pictures.shape[-2:])
    return random_crops(pictures.flatten(0, 1)[:, None], height, width).view(len(pictures), 3, height, width)


def moving_crop(video: Tensor, drift: float) -> Tensor:
    """``[M, T, 3, H, W]`` seen through a window that moves and zooms evenly from the first frame to the last.

    The windows at both ends are drawn alike, so that the motion that is added is as likely in either direction of
    time; it hides a camera that zooms in more often than out, or tilts down more often than up.

    Args:
        video: square or not; sampled bilinearly.
        drift: a window's side is this share smaller than the picture's, at most; below 1.
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
    """``[M, T, 3, H, W]`` with contrast, brightness and grain of each frame changed on its own.

    Wang et al. (ECCV 2020) jitter the colours of each frame so that a pace can't be read off low-level statistics. It
    also hides what a codec does: a frame coded afresh is sharper than those predicted from it, once every few frames.

    Args:
        video: standardised.
        strength: contrast changes by up to this share, brightness by up to this many standard deviations, and each
            frame gets normal noise of up to this standard deviation.
    """
    shape = (*video.shape[:2], 1, 1, 1)
    contrast, brightness = (1 + strength * (2 * torch.rand(2, *shape, device=video.device) - 1)).unbind()
    grain = strength * torch.rand(shape, device=video.device)
    return video * contrast + (brightness - 1) + grain * torch.randn_like(video)
