"""Changes of a clip's pixels: drawn once on the CPU, made for many clips at once on any device.

A change is split in two, so that a worker can draw it and a GPU make it: what is drawn is a row of numbers, and what is
made depends on the pixels and that row alone. The same code runs on one clip in a worker and on a batch on a device;
nothing in it waits for a device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from avssl.pixels import LUMA, MEAN, STD
from avssl.runtime.checks import check_ranges

JITTER = (0.8, 0.8, 0.8, 0.2)  # of brightness, contrast, saturation and hue at strength 1 (SimCLR)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor from the CPU to a device without waiting for it."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


class Change:
    """Change of pixels that is made with some probability; without further numbers, a subclass needs only `make`."""

    def __init__(self, probability: float = 1.0) -> None:
        check_ranges(type(self).__name__, {"probability": probability}, probability="[0, 1]")
        self.probability = probability

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn for a clip if the change is made."""
        return 0

    def parameters(self, num_frames: int) -> Tensor:
        """Draw these ``[numbers]`` with torch's global random numbers."""
        return torch.empty(0)

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Change ``[M, T, 3, H, W]`` uint8 clips as ``[M, numbers]``, on the CPU, say."""
        raise NotImplementedError

    def draw(self, num_frames: int) -> Tensor:
        """Draw ``[1 + numbers]`` for one clip: first 1 or 0, whether the change is made, then its parameters."""
        row = torch.zeros(1 + self.numbers(num_frames))
        if torch.rand(()) < self.probability:
            row[0] = 1
            row[1:] = self.parameters(num_frames)
        return row

    def apply(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Return ``[M, T, 3, H, W]`` uint8 clips, those changed for which it was drawn.

        Args:
            clips: on any device.
            drawn: ``[M, 1 + numbers]`` of `draw`, on the CPU.
        """
        chosen = drawn[:, 0].nonzero()[:, 0]
        if len(chosen) == 0:
            return clips
        if len(chosen) == len(clips):
            return self.make(clips, drawn[:, 1:])
        place = sent(chosen, clips.device)
        return clips.index_copy(0, place, self.make(clips.index_select(0, place), drawn[chosen, 1:]))

    def __call__(self, clip: Tensor) -> Tensor:
        """Draw and make the change on one clip ``[T, 3, H, W]`` uint8."""
        return self.apply(clip[None], self.draw(len(clip))[None])[0]


class ColourJitter(Change):
    """Random brightness, contrast, saturation and hue, as in SimCLR (Chen et al., ICML 2020, appendix A).

    Brightness, contrast and saturation are scaled by up to 1 ± ``0.8 * strength``, and the hue is rotated about the
    grey axis by up to ``0.2 * strength`` turns. Together they are one linear map of a pixel's colour, which takes a
    seventh of the time of torchvision's ``ColorJitter``, which goes through HSV (`benchmarks/augment.py`).

    Args:
        strength: from 0 (no change) to 1 (strong); or four numbers, the largest changes of brightness, contrast,
            saturation and hue, as torchvision's ``ColorJitter`` takes them.
        probability: probability of any change.
        each_frame: draw for each frame separately instead of once for the clip.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(self, strength: float | Sequence[float], probability: float = 1.0, each_frame: bool = False) -> None:
        super().__init__(probability)
        if isinstance(strength, Sequence) and len(strength) != 4:
            raise ValueError(f"ColourJitter.strength is {strength}: expected one number, or four")
        check_ranges("ColourJitter", {"strength": strength}, strength="[0, inf)")
        self.strength, self.limits = (1.0, strength) if isinstance(strength, Sequence) else (strength, JITTER)
        check_ranges("ColourJitter", {"hue": self.strength * self.limits[3]}, hue="[0, 0.5]")
        self.each_frame = each_frame

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: four, for each frame or for all."""
        return 4 * (num_frames if self.each_frame else 1)

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[4 T]`` or ``[4]`` numbers in [-strength, strength]."""
        return ((2 * torch.rand(4, self.numbers(num_frames) // 4) - 1) * self.strength).flatten()

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Jitter the colours of ``[M, T, 3, H, W]`` uint8 clips."""
        drawn = drawn.unflatten(1, (4, -1))[..., None, None]  # [M, 4, T or 1, 1, 1]
        bright, contrast, saturation = (
            (1 + limit * drawn[:, place]).clamp(min=0) for place, limit in enumerate(self.limits[:3])
        )
        angle = 2 * torch.pi * self.limits[3] * drawn[:, 3]  # of the rotation, by Rodrigues' formula
        one, grey = torch.eye(3), torch.full((3, 3), 1 / 3)
        cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
        hue = grey + angle.cos() * (one - grey) + angle.sin() * cross  # [M, T or 1, 3, 3]
        matrix = bright * (saturation * hue + (1 - saturation) * torch.tensor(LUMA).expand(3, 3))
        pixels = sent(matrix, clips.device) @ clips.flatten(3).float()  # [M, T, 3, H W]
        mean = pixels.mean((2, 3) if self.each_frame else (1, 2, 3), keepdim=True)
        pixels = pixels.sub_(mean).mul_(sent(contrast, clips.device)).add_(mean)
        return pixels.clamp_(0, 255).round_().to(torch.uint8).view_as(clips)


class Grey(Change):
    """Greyscale, by torchvision's ``rgb_to_grayscale``."""

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Return the luma of ``[M, T, 3, H, W]`` uint8 clips in all three channels."""
        return v2.functional.rgb_to_grayscale(clips, num_output_channels=3).contiguous()


class Blur(Change):
    """Gaussian blur.

    Args:
        probability: probability of any change.
        sigma: smallest and largest standard deviation in pixels.
        kernel: odd number of pixels over which the Gaussian extends.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(self, probability: float = 1.0, sigma: tuple[float, float] = (0.1, 2.0), kernel: int = 23) -> None:
        super().__init__(probability)
        check_ranges("Blur", {"sigma": sigma, "kernel": kernel}, sigma="(0, inf)", kernel="[1, inf)")
        if sigma[0] > sigma[1]:
            raise ValueError(f"Blur.sigma is {sigma}: expected the smaller number first")
        self.sigma, self.kernel = sigma, kernel

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: one."""
        return 1

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[1]``, the standard deviation in pixels."""
        return torch.empty(1).uniform_(*self.sigma)

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Blur ``[M, T, 3, H, W]`` uint8 clips, reflected at their borders, row by row and column by column."""
        half = self.kernel // 2
        away = torch.arange(self.kernel) - half
        weight = sent((-0.5 * (away / drawn) ** 2).softmax(1), clips.device)[:, None]  # [M, 1, kernel]
        pixels = clips.flatten(1, 2).transpose(0, 1).float()  # [T 3, M, H, W]: each clip has its own Gaussian
        pixels = F.conv2d(F.pad(pixels, (0, 0, half, half), "reflect"), weight[..., None], groups=len(clips))
        pixels = F.conv2d(F.pad(pixels, (half, half, 0, 0), "reflect"), weight[:, :, None], groups=len(clips))
        return pixels.round_().clamp_(0, 255).to(torch.uint8).transpose(0, 1).reshape(clips.shape)


class Solarise(Change):
    """Solarisation: pixels of 128 or more are inverted, by torchvision's ``solarize`` (BYOL, appendix B)."""

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Invert the bright pixels of ``[M, T, 3, H, W]`` uint8 clips."""
        return v2.functional.solarize(clips, 128)


class RandomErasing(Change):
    """Noise in a random box, the same in all frames (Zhong et al., AAAI 2020), each pixel drawn anew.

    The noise has the mean and the standard deviation of the pixels of Kinetics. It is a hash of the place and of one
    number that is drawn, so that every device makes the same.

    Args:
        size: height and width of the clips.
        probability: probability of any change.
        scale: smallest and largest fraction of the frame's area that is erased.
        ratio: smallest and largest aspect ratio of the box.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        size: int,
        probability: float = 0.25,
        scale: tuple[float, float] = (0.02, 1 / 3),
        ratio: tuple[float, float] = (0.3, 10 / 3),
    ) -> None:
        super().__init__(probability)
        check_ranges("RandomErasing", {"scale": scale, "ratio": ratio}, scale="(0, 1]", ratio="(0, inf)")
        self.frame = torch.empty(3, size, size, device="meta")
        self.box = v2.RandomErasing(scale=scale, ratio=ratio, value=0)

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: top, left, height and width of the box, and the number of the noise."""
        return 5

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[5]``; the box is empty if ten boxes in a row didn't fit."""
        box = self.box.make_params([self.frame])
        sides = (0, 0) if box["v"] is None else (box["h"], box["w"])
        return torch.tensor([box["i"], box["j"], *sides, int(torch.randint(1 << 24, ()))], dtype=torch.float32)

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Erase a box of each of ``[M, T, 3, H, W]`` uint8 clips."""
        clips = clips.clone()
        for clip, row in zip(clips, drawn.int().tolist(), strict=True):
            top, left, height, width, seed = row
            inside = clip[..., top : top + height, left : left + width]
            for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
                inside[:, channel] = noise(inside[:, channel], seed + channel, mean, std)
        return clips


def noise(like: Tensor, seed: int, mean: float, std: float) -> Tensor:
    """Return nearly normal noise in [0, 255] for pixels in [0, 1] of a mean and a standard deviation, as uint8.

    Each value is the sum of the four bytes of a hash of its place (the last steps of MurmurHash3).
    """
    place = torch.arange(like.numel(), device=like.device) + (seed << 24)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        place = ((place ^ (place >> shift)) * factor) & 0xFFFFFFFF
    bytes_ = sum((place >> shift) & 255 for shift in (0, 8, 16, 24))  # mean 510, variance (256² - 1) / 3
    normal = (bytes_ - 510) / ((256**2 - 1) / 3) ** 0.5
    return (255 * (mean + std * normal)).clamp_(0, 255).round_().to(torch.uint8).view_as(like)
