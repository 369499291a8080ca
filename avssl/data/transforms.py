"""Transforms of a clip's pixels between the decoder and the network.

All work on uint8 and draw once for all frames of a clip unless told otherwise, so that they add no motion. A transform
has two halves. Workers `begin` it: they cut and scale the frames, and draw everything else as a row of numbers. The
changes of colour that the numbers stand for are made when it is `finish`ed, for one item in the worker that began it or
for a batch on the device: the pixels are the same. They are normalised on the device (`Clips.normalised`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from avssl.data.changes import Blur, Change, ColourJitter, Grey, RandomErasing, Solarise
from avssl.data.crops import Crop, MultiScaleCrop, RandomResizedCrop
from avssl.data.randaugment import RandAugment
from avssl.media.regions import WHOLE, Region
from avssl.runtime.checks import check_ranges

Per = Literal["clip", "video", "frame"]  # what is drawn once for all of its frames


class ClipTransform:
    """Transform the pixels of clips to the network's input size; ``size`` is the height and width of the result.

    A transform of one's own defines `decode_size` and ``__call__``, and is made in the workers; one whose second half
    can be made on a device also defines `begin`, `numbers` and `finish`.
    """

    size: int

    @property
    def seen(self) -> Region:
        """The part of the pictures that the network is to be shown where nothing is drawn."""
        return WHOLE

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) to scale to while decoding a video of size ``shown``."""
        raise NotImplementedError

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform ``[T, 3, h, w]`` to ``[T, 3, size, size]``, both uint8, with torch's global random numbers."""
        raise NotImplementedError

    def begin(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Cut N clips ``[T, 3, h, w]`` of one video and draw what `finish` will do, with torch's global random numbers.

        Returns:
            ``[N, T, 3, size, size]`` uint8, and ``[D]`` float32.
        """
        return torch.stack([self(clip) for clip in clips]), torch.empty(0)

    def numbers(self, num_clips: int, num_frames: int) -> int:
        """Return how many numbers `begin` draws for a video with so many clips and frames a clip (D)."""
        return 0

    def finish(self, video: Tensor, drawn: Tensor) -> Tensor:
        """Make the changes drawn, on any device and without a wait for it.

        Args:
            video: ``[B, N, T, 3, size, size]`` uint8.
            drawn: ``[B, D]`` on the CPU.
        """
        return video


class Squash(ClipTransform):
    """Whole frames as a square, so that nothing is cropped and the aspect ratio reveals no class.

    Args:
        size: height and width of the result.
        width: its width, if it is not a square.

    Raises:
        ValueError: if the size is below 1.
    """

    def __init__(self, size: int = 112, width: int | None = None) -> None:
        check_ranges("transform", {"size": size, "width": width}, size="[1, inf)", width="[1, inf)")
        self.size, self.width = size, size if width is None else width

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the result: the decoder does all the work."""
        return self.size, self.width

    def __call__(self, clip: Tensor) -> Tensor:
        """Return ``[T, 3, size, width]`` unchanged."""
        return clip


class Augment(ClipTransform):
    """Random crop, flip, RandAugment, colour jitter, greyscale, blur, solarisation and erasing, in this order.

    Crop and flip are made in the workers, all others where ``data.augment`` says.

    Args:
        size: height and width of the result.
        scale: smallest and largest fraction of the frame's area that a crop covers.
        ratio: smallest and largest aspect ratio of a crop (width over height).
        flip: probability of a horizontal flip.
        jitter: probability of colour jitter (`ColourJitter`).
        strength: strength of the colour jitter (SimCLR: 1), or four numbers for brightness, contrast, saturation and
            hue, as in torchvision's ``ColorJitter``.
        grey: probability of greyscale.
        blur: probability of Gaussian blur.
        square: resize to a square before cropping, so that the aspect ratio can't be learnt.
        frame_jitter: strength of a second colour jitter, drawn for each frame separately, so that neither colours nor
            their drift reveal the order of frames (DPC: Han et al., ICCV workshops 2019).
        sigma: smallest and largest standard deviation of the blur in pixels.
        solarise: probability of solarisation (`Solarise`).
        rand_augment: settings of `RandAugment`, for fine-tuning; None for none.
        erase: probability that a box is filled with noise (`RandomErasing`), for fine-tuning.
        scales: crop by `MultiScaleCrop` with these fractions, instead of by ``scale`` and ``ratio`` (VideoMAE: 1,
            0.875, 0.75, 0.66).
        short_side: shorter side in pixels to which frames are scaled while they are decoded, at most their own; by
            default 8/7 of ``size``, from which a crop of less than 49/64 of the area is enlarged.
        crop_per: what is cropped and flipped alike: a clip, all clips of a video, or a frame.
        colour_per: what is otherwise changed alike.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        size: int = 112,
        scale: tuple[float, float] = (0.4, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        jitter: float = 0.0,
        strength: float | tuple[float, float, float, float] = 0.5,
        grey: float = 0.0,
        blur: float = 0.0,
        square: bool = True,
        frame_jitter: float = 0.0,
        sigma: tuple[float, float] = (0.1, 2.0),
        solarise: float = 0.0,
        rand_augment: RandAugment | None = None,
        erase: float = 0.0,
        scales: list[float] | None = None,
        short_side: int | None = None,
        crop_per: Per = "clip",
        colour_per: Per = "clip",
    ) -> None:
        chances = {"flip": flip, "jitter": jitter, "grey": grey, "blur": blur, "solarise": solarise, "erase": erase}
        sizes = {"size": size, "short_side": short_side, "frame_jitter": frame_jitter}
        check_ranges("transform", chances, **dict.fromkeys(chances, "[0, 1]"))
        check_ranges("transform", sizes, size="[1, inf)", short_side="[1, inf)", frame_jitter="[0, inf)")
        self.size, self.flip, self.square, self.short_side = size, flip, square, short_side
        self.crop_per, self.colour_per = crop_per, colour_per
        self.crop: Crop = RandomResizedCrop(scale, ratio) if scales is None else MultiScaleCrop(scales)
        changes: list[tuple[float, Change]] = [
            (jitter, ColourJitter(strength, jitter)),
            (grey, Grey(grey)),
            (blur, Blur(blur, sigma, max(3, size // 10 // 2 * 2 + 1))),
            (solarise, Solarise(solarise)),
            (frame_jitter, ColourJitter(frame_jitter, each_frame=True)),
            (erase, RandomErasing(size, erase)),
        ]
        self.changes: list[Change] = [rand_augment] if rand_augment else []
        self.changes += [change for probability, change in changes if probability > 0]

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return a size from which crops are taken."""
        side = round(self.size * 8 / 7) if self.short_side is None else min(self.short_side, *shown)
        if self.square:
            return side, side
        factor = side / min(shown)
        return round(shown[0] * factor), round(shown[1] * factor)

    def begin(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Crop and flip N clips ``[T, 3, h, w]`` of one video, and draw their changes of colour.

        Returns:
            ``[N, T, 3, size, size]`` uint8, and ``[D]`` float32.

        Raises:
            ValueError: if all clips are to be cropped alike, and cameras have different sizes.
        """
        if self.crop_per == "video" and len({clip.shape[-2:] for clip in clips}) > 1:
            sizes = [tuple(clip.shape[-2:]) for clip in clips]
            raise ValueError(f"transform.crop_per=video: the clips have different sizes {sizes}; set it to clip")
        shown, drawn = [], []
        for number, clip in enumerate(clips):  # what is drawn for each clip is drawn in turn
            parts = clip.split(1) if self.crop_per == "frame" else [clip]
            for part in parts:
                if number == 0 or self.crop_per != "video":
                    box, flipped = self.crop(part), self.flip > 0 and bool(torch.rand(()) < self.flip)
                cut = box.cut(part, self.size)
                shown.append(v2.functional.horizontal_flip(cut) if flipped else cut)
            alike = {"clip": len(clip), "video": len(clips) * len(clip), "frame": 1}[self.colour_per]
            if number == 0 or self.colour_per != "video":
                for _ in range(max(1, len(clip) // alike)):
                    drawn += [change.draw(alike) for change in self.changes]
        return torch.cat(shown).unflatten(0, (len(clips), -1)), torch.cat([torch.empty(0), *drawn])

    def numbers(self, num_clips: int, num_frames: int) -> int:
        """Return how many numbers `begin` draws for a video (D)."""
        units, alike = self._units(num_clips, num_frames)
        return units * sum(1 + change.numbers(alike) for change in self.changes)

    def finish(self, video: Tensor, drawn: Tensor) -> Tensor:
        """Change the colours of ``[B, N, T, 3, size, size]`` uint8 as ``[B, D]``, on the CPU, says."""
        if not self.changes:
            return video
        units, alike = self._units(*video.shape[1:3])
        clips = video.reshape(-1, alike, *video.shape[3:])  # [B units, frames changed alike, 3, size, size]
        lengths = [1 + change.numbers(alike) for change in self.changes]
        rows = drawn.reshape(len(video) * units, sum(lengths)).split(lengths, 1)
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
            for change, row in zip(self.changes, rows, strict=True):
                clips = change.apply(clips, row)
        return clips.reshape(video.shape)

    def _units(self, num_clips: int, num_frames: int) -> tuple[int, int]:
        """Return how many parts of a video are changed differently, and how many frames each has."""
        frames = num_clips * num_frames
        alike = {"clip": num_frames, "video": frames, "frame": 1}[self.colour_per]
        return frames // alike, alike

    def __call__(self, clip: Tensor) -> Tensor:
        """Augment ``[T, 3, h, w]`` uint8 to ``[T, 3, size, size]`` uint8."""
        video, drawn = self.begin([clip])
        return self.finish(video[None], drawn[None])[0, 0]


class PerClip(ClipTransform):
    """Different transforms for the clips of a video, such as the two views of BYOL, of which one is blurred less.

    Args:
        transforms: for the first clip, the second and so on, of one size; the last is also for all that follow.

    Raises:
        ValueError: if there is none, or their sizes differ.
    """

    def __init__(self, transforms: list[ClipTransform]) -> None:
        sizes = sorted({transform.size for transform in transforms})
        if len(sizes) != 1:
            raise ValueError(f"transform.transforms: expected at least one transform, all of one size, got {sizes}")
        self.transforms, self.size = transforms, sizes[0]

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return the largest size that one of the transforms asks for."""
        heights, widths = zip(*(transform.decode_size(shown) for transform in self.transforms), strict=True)
        return max(heights), max(widths)

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform ``[T, 3, h, w]`` uint8 as the first clip."""
        return self.transforms[0](clip)

    def _of(self, num_clips: int) -> list[ClipTransform]:
        return [self.transforms[min(number, len(self.transforms) - 1)] for number in range(num_clips)]

    def begin(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Begin the transform of each clip: ``[N, T, 3, size, size]`` uint8 and ``[D]``."""
        begun = [transform.begin([clip]) for transform, clip in zip(self._of(len(clips)), clips, strict=True)]
        return torch.cat([video for video, _ in begun]), torch.cat([drawn for _, drawn in begun])

    def numbers(self, num_clips: int, num_frames: int) -> int:
        """Return how many numbers `begin` draws for a video (D)."""
        return sum(transform.numbers(1, num_frames) for transform in self._of(num_clips))

    def finish(self, video: Tensor, drawn: Tensor) -> Tensor:
        """Finish the transform of each clip of ``[B, N, T, 3, size, size]`` uint8."""
        own = self._of(video.shape[1])
        rows = drawn.split([transform.numbers(1, video.shape[2]) for transform in own], 1)
        clips = [
            transform.finish(video[:, number : number + 1], row)
            for number, (transform, row) in enumerate(zip(own, rows, strict=True))
        ]
        return torch.cat(clips, 1)


class Panorama(ClipTransform):
    """Whole equirectangular panoramas, twice as wide as high: nothing is cropped, so that directions stay known.

    Args:
        size: height of the result.

    Raises:
        ValueError: if the size is below 1.
    """

    def __init__(self, size: int = 64) -> None:
        check_ranges("transform", {"size": size}, size="[1, inf)")
        self.size = size

    def decode_size(self, shown: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width: the decoder does all the work."""
        return self.size, 2 * self.size

    def __call__(self, clip: Tensor) -> Tensor:
        """Return ``[T, 3, size, 2 size]`` unchanged."""
        return clip
