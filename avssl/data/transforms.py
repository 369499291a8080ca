"""What is done to the pixels of a clip between the decoder and the network.

Everything here works on uint8 and draws once for all frames of a clip, so that motion stays motion. Pixels are
normalised on the device (`Clips.normalised`), not in the loader.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from avssl.pixels import LUMA


class ClipTransform:
    """Pixels of one clip in, pixels of the same clip at the network's size out.

    Attributes:
        size: height and width of the result.
    """

    size: int

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) to scale to while decoding a video that is shown at ``shown``."""
        raise NotImplementedError

    def __call__(self, clip: Tensor) -> Tensor:
        """``[T, 3, h, w]`` uint8 to ``[T, 3, size, size]`` uint8. Draws from torch's global random numbers."""
        raise NotImplementedError


class Squash(ClipTransform):
    """The whole picture as a square: nothing is cut off, and the aspect ratio can't give a class away.

    Args:
        size: height and width of the result.
    """

    def __init__(self, size: int = 112) -> None:
        self.size = size

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """The square itself: the decoder does all the work."""
        return self.size, self.size

    def __call__(self, clip: Tensor) -> Tensor:
        """``[T, 3, size, size]``, unchanged."""
        return clip


class Augment(ClipTransform):
    """Random resized crop, flip, colour jitter, grey and blur, each drawn once for a whole clip.

    Args:
        size: height and width of the result.
        scale: smallest and largest share of the picture's area that a crop covers.
        ratio: narrowest and widest crop (width over height).
        flip: probability of a horizontal flip.
        jitter: probability of changing the colours of a clip (`ColourJitter`).
        strength: of that change (SimCLR: 1).
        grey: probability of dropping colour.
        blur: probability of a Gaussian blur.
        square: squash to a square before cropping, so that the aspect ratio can't be learnt.
        frame_jitter: strength of a second change of colours that is drawn for each frame on its own, so that neither
            they nor their drift tell what follows (DPC: Han et al., ICCV workshops 2019).
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
        """A little larger than the result, so that few crops are enlarged."""
        side = round(self.size * 8 / 7)
        if self.square:
            return side, side
        factor = side / min(shown)
        return round(shown[0] * factor), round(shown[1] * factor)

    def __call__(self, clip: Tensor) -> Tensor:
        """``[T, 3, h, w]`` uint8 to ``[T, 3, size, size]`` uint8."""
        return self.steps(clip)


class ColourJitter(nn.Module):
    """Other brightness, contrast, saturation and hue, as in SimCLR (Chen et al., ICML 2020, appendix A).

    Brightness, contrast and saturation are multiplied by 1 ± ``0.8 * strength`` at most, and the hue is turned by up to
    ``0.2 * strength`` of the circle, about the grey axis. All four are one linear map of a pixel's colour, which takes
    a seventh of the time of torchvision's ``ColorJitter`` with its way through HSV (`benchmarks/augment.py`).

    Args:
        strength: 0 changes nothing, 1 very much.
        probability: that anything is changed.
        each_frame: draw for each frame on its own instead of once for the clip.
    """

    def __init__(self, strength: float, probability: float = 1.0, each_frame: bool = False) -> None:
        super().__init__()
        self.strength, self.probability, self.each_frame = strength, probability, each_frame

    def forward(self, clip: Tensor) -> Tensor:
        """``[T, 3, h, w]`` uint8 to the same. Draws from torch's global random numbers."""
        if torch.rand(()) >= self.probability:
            return clip
        drawn = (2 * torch.rand(4, len(clip) if self.each_frame else 1) - 1) * self.strength  # in [-strength, strength]
        bright, contrast, saturation = (1 + 0.8 * drawn[:3]).clamp(min=0)[:, :, None, None]  # [T or 1, 1, 1] each
        angle = 2 * torch.pi * 0.2 * drawn[3][:, None, None]  # of the turn, by Rodrigues' formula
        one, grey = torch.eye(3), torch.full((3, 3), 1 / 3)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
        hue = grey + angle.cos() * (one - grey) + angle.sin() * cross  # [T or 1, 3, 3]
        turned = bright * (saturation * hue + (1 - saturation) * torch.tensor(LUMA).expand(3, 3))
        pixels = turned @ clip.flatten(2).float()  # [T, 3, h w]
        middle = pixels.mean((1, 2) if self.each_frame else (0, 1, 2), keepdim=True)
        return pixels.sub_(middle).mul_(contrast).add_(middle).clamp_(0, 255).round_().to(torch.uint8).view_as(clip)
