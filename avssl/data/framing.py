"""Augmentation for mouths and faces that were cut out by tracks: how they are framed, filmed and compressed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.data.changes import Change, noise, sent
from avssl.data.transforms import ClipTransform
from avssl.media.regions import Region
from avssl.runtime.checks import check_ranges

BLOCK = 8  # pixels, of the squares that a codec transforms
FPS = 25.0  # frames per second of the copies whose frames are held


class Framing(ClipTransform):
    """Grey clips of cut-out mouths or faces, in random framing, light, rate, detail, compression and noise.

    Copies show more than a network is shown: each clip is the square around their middle, displaced, larger or smaller,
    stretched, and drifting slowly, as where a tracker is off or there was none. Networks that learn from it are shown
    the square in the middle of side ``middle`` afterwards (`seen`). Everything is drawn once for a clip. The three
    channels are alike: a random mean of the copy's colours.

    Args:
        size: height and width of the result.
        middle: side of the square in the middle, as a fraction of the copy's.
        zoom: largest factor by which a square's side is larger or smaller, at least 1.
        displaced: standard deviation of a square's place, as a fraction of its side.
        stretch: largest factor between a square's height and width, at least 1.
        drift: standard deviation of its motion over the clip, as a fraction of its side.
        flip: probability of a horizontal flip.
        light: standard deviation of the logarithms of contrast, of gamma and of the weights of colours.
        held: probability of a lower frame rate (`Held`).
        coarse: probability of less detail (`Coarse`).
        compressed: probability of a codec's losses (`Compressed`).
        grain: probability of a sensor's noise (`Grain`).

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        size: int = 40,
        middle: float = 0.7,
        zoom: float = 1.25,
        displaced: float = 0.06,
        stretch: float = 1.2,
        drift: float = 0.02,
        flip: float = 0.5,
        light: float = 0.3,
        held: float = 0.2,
        coarse: float = 0.3,
        compressed: float = 0.3,
        grain: float = 0.3,
    ) -> None:
        sides = {"middle": middle, "zoom": zoom, "stretch": stretch, "displaced": displaced, "drift": drift}
        check_ranges(
            "transform", sides, middle="(0, 1]", zoom="[1, 4]", stretch="[1, 4]", displaced="[0, 1]", drift="[0, 1]"
        )
        check_ranges("transform", {"size": size, "flip": flip}, size="[1, inf)", flip="[0, 1]")
        self.size, self.flip, self.light = size, flip, light
        self.middle, self.zoom, self.displaced, self.stretch, self.drift = middle, zoom, displaced, stretch, drift
        changes: list[Change] = [Coarse(coarse), Grain(grain), Compressed(compressed), Held(held)]
        self.changes = [change for change in changes if change.probability > 0]

    @property
    def seen(self) -> Region:
        """The part of the copies that a network is shown where nothing is drawn: the square in the middle."""
        edge = (1 - self.middle) / 2
        return edge, edge, 1 - edge, 1 - edge

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return a square of which the middle is a tenth larger than the result."""
        side = round(1.1 * self.size / self.middle)
        return side, side

    def begin(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Cut N clips ``[T, 3, h, w]`` of one video, and draw their changes.

        Returns:
            ``[N, T, 1, size, size]`` uint8, and ``[D]`` float32.
        """
        shown = torch.stack([self._cut(clip) for clip in clips])
        drawn = [change.draw(len(clip)) for clip in clips for change in self.changes]
        return shown, torch.cat([torch.empty(0), *drawn])

    def numbers(self, num_clips: int, num_frames: int) -> int:
        """Return how many numbers `begin` draws for a video (D)."""
        return num_clips * sum(1 + change.numbers(num_frames) for change in self.changes)

    def finish(self, video: Tensor, drawn: Tensor) -> Tensor:
        """Make the changes of ``[B, N, T, 1, size, size]``: ``[B, N, T, 3, size, size]`` uint8."""
        count, frames = video.shape[1:3]
        clips = video.flatten(0, 1)
        if self.changes:
            rows = drawn.reshape(len(video) * count, -1).split([1 + c.numbers(frames) for c in self.changes], 1)
            with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
                for change, row in zip(self.changes, rows, strict=True):
                    clips = change.apply(clips, row)
        return clips.unflatten(0, (-1, count)).expand(-1, -1, -1, 3, -1, -1)

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform ``[T, 3, h, w]`` uint8 to ``[T, 3, size, size]`` uint8."""
        video, drawn = self.begin([clip])
        return self.finish(video[None], drawn[None])[0, 0]

    def _cut(self, clip: Tensor) -> Tensor:
        """Cut a drifting rectangle out of ``[T, 3, h, w]``, grey and scaled to a square: ``[T, 1, size, size]``."""
        height, width = clip.shape[-2:]
        factor, shape = (2 * torch.rand(2) - 1).tolist()
        place, motion = torch.randn(2, 2) * torch.tensor([[self.displaced], [self.drift]])
        flipped = bool(torch.rand(()) < self.flip)
        weights = (self.light * torch.randn(3)).softmax(0)
        contrast, gamma = (self.light * torch.randn(2) / 2).exp().tolist()
        side = self.middle * self.zoom**factor
        tall, wide = (side * self.stretch ** (sign * shape / 2) for sign in (1, -1))
        rows = min(height, max(1, round(height * tall)))
        columns = min(width, max(1, round(width * wide)))
        most = torch.tensor([height - rows, width - columns])
        along = torch.linspace(-0.5, 0.5, len(clip))[:, None] * motion + place  # [T, 2] from the middle, in sides
        corner = (most / 2 + along * side * torch.tensor([height, width])).round()
        corners = corner.clamp(torch.zeros(2), most).int().tolist()
        shown = zip(clip, corners, strict=True)
        parts = torch.stack([frame[:, top : top + rows, left : left + columns] for frame, (top, left) in shown])
        grey = (weights @ parts.flatten(2).float()).view(-1, 1, rows, columns)  # of what is shown alone
        cut = resized(grey, (self.size, self.size)).div_(255).clamp_(0, 1).pow_(gamma)
        middle = cut.mean()
        cut = ((cut - middle) * contrast + middle).mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        return cut.flip(3) if flipped else cut


def resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale float frames ``[T, C, h, w]``, antialiased."""
    return F.interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False)


class Held(Change):
    """A lower frame rate: frames are held, each shown at the instants that it is nearest to.

    Args:
        probability: probability of any change.
        rates: lowest and highest rate, in frames per second, where the clip has 25.

    Raises:
        ValueError: if a rate is out of range.
    """

    def __init__(self, probability: float = 1.0, rates: tuple[float, float] = (12.0, 24.0)) -> None:
        super().__init__(probability)
        check_ranges("Held", {"rates": rates}, rates="(0, 25]")
        self.rates = rates

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: the rate, and a phase."""
        return 2

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[2]``: frames per second, and a phase in [0, 1)."""
        return torch.stack([torch.empty(()).uniform_(*self.rates), torch.rand(())])

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Hold frames of ``[M, T, C, H, W]`` uint8 clips."""
        place = torch.arange(clips.shape[1])
        period, phase = FPS / drawn[:, :1], drawn[:, 1:]  # [M, 1]
        kept = ((((place / period) - phase).round() + phase) * period).round().clamp(0, clips.shape[1] - 1)
        kept = sent(kept.long(), clips.device)[:, :, None, None, None]
        return clips.take_along_dim(kept, 1)


class Coarse(Change):
    """Less detail: scaled down, and up again, as of a face far from the camera.

    Args:
        probability: probability of any change.
        kept: smallest and largest fraction of the height and width that is kept.

    Raises:
        ValueError: if a fraction is out of range.
    """

    def __init__(self, probability: float = 1.0, kept: tuple[float, float] = (0.3, 0.8)) -> None:
        super().__init__(probability)
        check_ranges("Coarse", {"kept": kept}, kept="(0, 1]")
        self.kept = kept

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: one."""
        return 1

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[1]``, the fraction kept."""
        return torch.empty(1).uniform_(*self.kept)

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Scale ``[M, T, C, H, W]`` uint8 clips down and up."""
        height, width = clips.shape[-2:]
        made = []
        for clip, (kept,) in zip(clips, drawn.tolist(), strict=True):
            small = resized(clip.float(), (max(4, round(height * kept)), max(4, round(width * kept))))
            made.append(resized(small, (height, width)).round_().clamp_(0, 255).to(torch.uint8))
        return torch.stack(made)


class Compressed(Change):
    """A codec's losses: the cosine transform of each block of 8 x 8 pixels is rounded to steps.

    Steps grow with frequency, as in JPEG and intra-coded H.264. The blocks lie elsewhere in each clip.

    Args:
        probability: probability of any change.
        steps: smallest and largest step of the lowest frequency, in grey levels.

    Raises:
        ValueError: if a step is out of range.
    """

    def __init__(self, probability: float = 1.0, steps: tuple[float, float] = (4.0, 32.0)) -> None:
        super().__init__(probability)
        check_ranges("Compressed", {"steps": steps}, steps="(0, inf)")
        self.steps = steps
        order, place = torch.arange(BLOCK)[:, None], torch.arange(BLOCK) + 0.5
        self.cosines = (order * place * math.pi / BLOCK).cos() * math.sqrt(2 / BLOCK)  # [frequency, pixel], orthonormal
        self.cosines[0] = math.sqrt(1 / BLOCK)
        self.growth = 1 + (order + order.T) / 2  # [frequency, frequency]

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: the step, and where the blocks begin."""
        return 3

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[3]``: the step, evenly on a logarithmic scale, and the place of the first block."""
        low, high = (math.log(step) for step in self.steps)
        return torch.cat([torch.empty(1).uniform_(low, high).exp(), torch.randint(BLOCK, (2,)).float()])

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Round the blocks of ``[M, T, C, H, W]`` uint8 clips."""
        height, width = clips.shape[-2:]
        cosines = sent(self.cosines, clips.device)
        made = []
        for clip, (step, top, left) in zip(clips, drawn.tolist(), strict=True):
            above, before = int(top), int(left)
            edges = (before, -(before + width) % BLOCK, above, -(above + height) % BLOCK)
            pixels = F.pad(clip.float(), edges, "replicate") - 128  # [T, 3, H', W']
            blocks = pixels.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))  # [T, 3, rows, 8, columns, 8]
            waves = torch.einsum("fi,tcribj,gj->tcrfbg", cosines, blocks, cosines)
            unit = sent(self.growth * step, clips.device)[:, None]  # [8, 1, 8]
            waves = (waves / unit).round() * unit
            pixels = torch.einsum("fi,tcrfbg,gj->tcribj", cosines, waves, cosines).flatten(4).flatten(2, 3)
            pixels = pixels[..., above : above + height, before : before + width] + 128
            made.append(pixels.round_().clamp_(0, 255).to(torch.uint8))
        return torch.stack(made)


class Grain(Change):
    """A sensor's noise, the same in all colours and different in each frame.

    Args:
        probability: probability of any change.
        most: largest standard deviation, in [0, 1] of the range of a pixel.

    Raises:
        ValueError: if it is out of range.
    """

    def __init__(self, probability: float = 1.0, most: float = 0.06) -> None:
        super().__init__(probability)
        check_ranges("Grain", {"most": most}, most="(0, 1]")
        self.most = most

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: the standard deviation, and the number of the noise."""
        return 2

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[2]``."""
        return torch.stack([torch.rand(()) * self.most, torch.randint(1 << 24, ()).float()])

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Add noise to ``[M, T, C, H, W]`` uint8 clips."""
        made = []
        for clip, (spread, seed) in zip(clips, drawn.tolist(), strict=True):
            grain = noise(clip[:, :1], int(seed), 0.5, spread).float() - 127.5
            made.append((clip + grain).round_().clamp_(0, 255).to(torch.uint8))
        return torch.stack(made)
