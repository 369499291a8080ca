"""The arrow of time.

D. Wei, J. Lim, A. Zisserman, W. T. Freeman: Learning and Using the Arrow of Time. CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.disguise import flicker, moving_crop
from avssl.methods.temporal.common import EitherWay


@dataclass(frozen=True)
class ForwardsOrBackwards(EitherWay):
    """Random clips, each played backwards with probability 1/2, by default two chunks of 10 frames."""

    num_frames: int = 20
    step: float = 0.04


class ArrowOfTime(Method):
    """Classify whether a clip is played forwards or backwards.

    T-CAM: a clip is cut into chunks that pass through one network. Their last maps are concatenated, convolved,
    averaged over space and classified by one linear layer (before averaging: a class activation map). The target is
    read off the timestamps.

    Metric: ``accuracy``; chance is 0.5.

    The paper's input is optical flow, which hides the content of single frames. Here it is RGB, the input of the
    exported encoder, or frame differences, which change sign but not magnitude when time is reversed. Black borders,
    which the paper removes, look the same in both directions; a camera that prefers one (zooms in, tilts down) is
    hidden by ``drift``, traces of the codec by ``flicker``.

    Args:
        chunks: equal chunks per clip, a divisor of its frames (the authors' code: 2 of 10 flow fields).
        differences: encode the differences of consecutive frames of a chunk, one fewer than its frames.
        drift: see `moving_crop`; 0, the default, leaves the camera as it is.
        flicker: see `avssl.methods.disguise.flicker`; 0 leaves frames as they are.
        hidden: channels of the two convolutions over the chunks' maps (the authors' code: 1024).
        dropout: rate after each of them (the authors' code: 0.5).
    """

    sampler: ForwardsOrBackwards

    def __init__(
        self,
        encoder: Encoder,
        sampler: ForwardsOrBackwards | None = None,
        chunks: int = 2,
        differences: bool = False,
        drift: float = 0.0,
        flicker: float = 0.0,
        hidden: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, sampler or ForwardsOrBackwards())
        self.chunks, self.differences, self.drift, self.flicker = chunks, differences, drift, flicker
        if self.sampler.num_frames % chunks:
            raise ValueError(f"ArrowOfTime: {self.sampler.num_frames} frames can't be cut into {chunks} equal chunks")
        layers: list[nn.Module] = []
        for channels in (chunks * encoder.num_features, hidden):
            convolution = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.fuse = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden, 1)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N clips."""
        score = self.evidence(self.disguised(clips.video.flatten(0, 1))).mean(dim=(1, 2))  # [B N]
        target = backwards(clips.times).flatten()
        loss = F.binary_cross_entropy_with_logits(score, target.float())
        return measured(clips, loss, accuracy=((score > 0) == target, 0.5))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the direction of each clip."""
        return [["backwards" if yes else "forwards" for yes in row] for row in backwards(clips.times).tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the input frames, and the evidence for backwards (red) and forwards (blue)."""
        seen = self.disguised(clips.video.flatten(0, 1))
        evidence = self.evidence(seen)  # [B N, H', W']
        red, blue = evidence.clamp(min=0).tanh(), -evidence.clamp(max=0).tanh()
        heat = torch.stack([red, torch.zeros_like(red), blue], 1)[:, None]  # [B N, 1, 3, H', W']
        shape = clips.video.shape[:2]
        return {"seen": clips.denormalise(seen).unflatten(0, shape), "evidence": heat.unflatten(0, shape)}

    def disguised(self, video: Tensor) -> Tensor:
        """Hide the camera's motion and traces of the codec in ``[M, T, 3, H, W]``."""
        video = moving_crop(video, self.drift) if self.drift else video
        return flicker(video, self.flicker) if self.flicker else video

    def evidence(self, video: Tensor) -> Tensor:
        """Return class activation maps, positive for backwards: ``[M, T, 3, H, W]`` to ``[M, H', W']``."""
        chunks = rearrange(video, "m (chunk t) c h w -> (m chunk) t c h w", chunk=self.chunks)
        maps = self.encoder.maps(chunks.diff(dim=1) if self.differences else chunks)  # [M chunks, D, T', H', W']
        stacked = rearrange(maps.mean(2), "(m chunk) d h w -> m (chunk d) h w", chunk=self.chunks)
        return self.classifier(self.fuse(stacked).movedim(1, -1)).squeeze(-1).float()


def backwards(times: Tensor) -> Tensor:
    """Return whether the last frame is earlier than the first: ``[..., T]`` seconds to ``[...]`` bool."""
    return times[..., -1] < times[..., 0]
