"""Transforms of a clip's pixels between the decoder and the network.

All work on uint8 and draw once for all frames of a clip, so that they add no motion. Pixels are normalised on the
device (`Clips.normalised`), not in the loader.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from avssl.pixels import LUMA


class ClipTransform:
    """Transform the pixels of one clip to the network's input size; ``size`` is the height and width of the result."""

    size: int

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) to scale to while decoding a video of size ``shown``."""
        raise NotImplementedError

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform ``[T, 3, h, w]`` to ``[T, 3, size, size]``, both uint8, with torch's global random numbers."""
        raise NotImplementedError


class Squash(ClipTransform):
    """Whole frames as a square, so that nothing is cropped and the aspect ratio reveals no class.

    Args:
        size: height and width of the result.
    """

    def __init__(self, size: int = 112) -> None:
        self.size = size

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return the square: the decoder does all the work."""
        return self.size, self.size

    def __call__(self, clip: Tensor) -> Tensor:
        """Return ``[T, 3, size, size]`` unchanged."""
        return clip


class Augment(ClipTransform):
    """Random resized crop, flip, colour jitter, greyscale and blur, each drawn once per clip.

    Args:
        size: height and width of the result.
        scale: smallest and largest fraction of the frame's area that a crop covers.
        ratio: smallest and largest aspect ratio of a crop (width over height).
        flip: probability of a horizontal flip.
        jitter: probability of colour jitter (`ColourJitter`).
        strength: strength of the colour jitter (SimCLR: 1).
        grey: probability of greyscale.
        blur: probability of Gaussian blur.
        square: resize to a square before cropping, so that the aspect ratio can't be learnt.
        frame_jitter: strength of a second colour jitter, drawn for each frame separately, so that neither colours nor
            their drift reveal the order of frames (DPC: Han et al., ICCV workshops 2019).
    """

    def __init__(
        self,
        size: int = 112,
        scale: tuple[float, float] = (0.4, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        jitter: float = 0.0,
        strength: float = 0.5,
        grey: float = 0.0,
        blur: float = 0.0,
        square: bool = True,
        frame_jitter: float = 0.0,
    ) -> None:
        self.size, self.square = size, square
        kernel = max(3, size // 10 // 2 * 2 + 1)
        steps: list[tuple[float, nn.Module]] = [
            (1.0, v2.RandomResizedCrop(size, scale=scale, ratio=ratio)),
            (flip, v2.RandomHorizontalFlip(flip)),
            (jitter, ColourJitter(strength, jitter)),
            (grey, v2.RandomGrayscale(grey)),
            (blur, v2.RandomApply([v2.GaussianBlur(kernel, sigma=(0.1, 2.0))], p=blur)),
            (frame_jitter, ColourJitter(frame_jitter, each_frame=True)),
        ]
        self.steps = v2.Compose([transform for probability, transform in steps if probability > 0])

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return a size slightly larger than the result, so that few crops are enlarged."""
        side = round(self.size * 8 / 7)
        if self.square:
            return side, side
        factor = side / min(shown)
        return round(shown[0] * factor), round(shown[1] * factor)

    def __call__(self, clip: Tensor) -> Tensor:
        """``[T, 3, h, w]`` uint8 to ``[T, 3, size, size]`` uint8."""
        return self.steps(clip)


class ColourJitter(nn.Module):
    """Random brightness, contrast, saturation and hue, as in SimCLR (Chen et al., ICML 2020, appendix A).

    Brightness, contrast and saturation are scaled by up to 1 ± ``0.8 * strength``, and the hue is rotated about the
    grey axis by up to ``0.2 * strength`` turns. Together they are one linear map of a pixel's colour, which takes a
    seventh of the time of torchvision's ``ColorJitter``, which goes through HSV (`benchmarks/augment.py`).

    Args:
        strength: from 0 (no change) to 1 (strong).
        probability: probability of any change.
        each_frame: draw for each frame separately instead of once for the clip.
    """

    def __init__(self, strength: float, probability: float = 1.0, each_frame: bool = False) -> None:
        super().__init__()
        self.strength, self.probability, self.each_frame = strength, probability, each_frame

    def forward(self, clip: Tensor) -> Tensor:
        """Jitter ``[T, 3, h, w]`` uint8 with torch's global random numbers."""
        if torch.rand(()) >= self.probability:
            return clip
        drawn = (2 * torch.rand(4, len(clip) if self.each_frame else 1) - 1) * self.strength  # in [-strength, strength]
        bright, contrast, saturation = (1 + 0.8 * drawn[:3]).clamp(min=0)[:, :, None, None]  # [T or 1, 1, 1] each
        angle = 2 * torch.pi * 0.2 * drawn[3][:, None, None]  # of the rotation, by Rodrigues' formula
        one, grey = torch.eye(3), torch.full((3, 3), 1 / 3)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
        hue = grey + angle.cos() * (one - grey) + angle.sin() * cross  # [T or 1, 3, 3]
        matrix = bright * (saturation * hue + (1 - saturation) * torch.tensor(LUMA).expand(3, 3))
        pixels = matrix @ clip.flatten(2).float()  # [T, 3, h w]
        mean = pixels.mean((1, 2) if self.each_frame else (0, 1, 2), keepdim=True)
        return pixels.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255).round_().to(torch.uint8).view_as(clip)
