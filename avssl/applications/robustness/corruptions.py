"""Corruptions of video at five severities.

D. Hendrycks, T. Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations. ICLR 2019
(noise, blur, brightness and compression of images); here on clips, with what only video has: a drift of brightness,
the bit rate of a real codec, frames that are lost, and pictures that stand still.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from avssl.media.x264 import SAME_BYTES

SEVERITIES = 5
RATE = 25  # frames per second of the re-encoded clip, which the codec's rate control takes into account


def noise(clip: Tensor, std: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise of a standard deviation relative to white."""
    drawn = torch.from_numpy(rng.standard_normal(tuple(clip.shape), dtype=np.float32))
    return _pixels(clip + 255 * std * drawn)


def blur(clip: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Blur by a Gaussian whose standard deviation is a share of the picture's shorter side."""
    sigma = share * min(clip.shape[2:])
    reach = min(max(1, round(3 * sigma)), min(clip.shape[2:]) - 1)
    return _pixels(gaussian_blur(clip.float(), [2 * reach + 1] * 2, [sigma] * 2))


def drift(clip: Tensor, most: float, rng: np.random.Generator) -> Tensor:
    """Brighten or darken steadily up to the last frame, by a share of white; a single frame by all of it."""
    steps = torch.linspace(0, 1, len(clip)) if len(clip) > 1 else torch.ones(1)
    sign = 1 if rng.random() < 0.5 else -1
    return _pixels(clip + 255 * most * sign * steps[:, None, None, None])


def bitrate(clip: Tensor, crf: float, rng: np.random.Generator) -> Tensor:
    """Encode as H.264 at a constant rate factor, and decode again."""
    height, width = clip.shape[2:]
    even = functional.pad(clip.float(), (0, width % 2, 0, height % 2), mode="replicate").byte()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(
            "libx264", rate=RATE, options={"crf": f"{crf:g}", "preset": "veryfast", **SAME_BYTES}
        )
        stream.width, stream.height, stream.pix_fmt = even.shape[3], even.shape[2], "yuv420p"
        for picture in rearrange(even, "t c h w -> t h w c").contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        container.streams.video[0].thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return rearrange(torch.from_numpy(np.stack(frames)), "t h w c -> t c h w")[:, :, :height, :width].contiguous()


def dropped(clip: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Lose a share of the frames after the first, here and there: the last one that came is shown in their place."""
    lost = 1 + rng.permutation(len(clip) - 1)[: round(share * (len(clip) - 1))]
    came: NDArray[np.int64] = np.arange(len(clip))
    came[lost] = 0
    return clip[torch.from_numpy(np.maximum.accumulate(came))]


def frozen(clip: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Stand still once, for a share of the clip."""
    still = round(share * (len(clip) - 1))
    first = int(rng.integers(len(clip) - still))
    places = torch.arange(len(clip))
    places[first : first + still + 1] = first
    return clip[places]


def _pixels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).byte()


@dataclass(frozen=True)
class Corruption:
    """A way of damaging a clip.

    Attributes:
        change: given a clip, uint8 ``[T, 3, H, W]``, a strength and random numbers, returns another of its shape.
        strengths: one for each severity.
        frames: least number of frames that it changes anything in.
    """

    change: Callable[[Tensor, float, np.random.Generator], Tensor]
    strengths: tuple[float, float, float, float, float]
    frames: int = 1


CORRUPTIONS = {
    "noise": Corruption(noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": Corruption(blur, (0.01, 0.02, 0.03, 0.045, 0.06)),
    "drift": Corruption(drift, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "bitrate": Corruption(bitrate, (27, 33, 39, 45, 51)),
    "dropped": Corruption(dropped, (0.15, 0.3, 0.45, 0.6, 0.75), frames=3),
    "frozen": Corruption(frozen, (0.2, 0.35, 0.5, 0.7, 1.0), frames=3),
}


def corrupted(clips: Tensor, kind: str, severity: int, seed: int) -> Tensor:
    """Damage the clips of one video, uint8 ``[M, T, 3, H, W]``, each in its own way.

    Args:
        clips: the clips.
        kind: one of `CORRUPTIONS`.
        severity: from 1 to 5.
        seed: decides all that is random; the same for every network that is tested.
    """
    one = CORRUPTIONS[kind]
    rng = np.random.default_rng([seed, list(CORRUPTIONS).index(kind), severity])
    return torch.stack([one.change(clip, one.strengths[severity - 1], rng) for clip in clips])
