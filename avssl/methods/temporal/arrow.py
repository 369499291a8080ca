"""The arrow of time.

D. Wei, J. Lim, A. Zisserman, W. T. Freeman: Learning and Using the Arrow of Time. CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, a_video
from avssl.methods.disguise import flicker, moving_crop
from avssl.pixels import denormalise


@dataclass(frozen=True)
class ForwardsOrBackwards:
    """Clips played forwards or, one in two, backwards.

    Args:
        clips: clips a video (N), each drawn on its own.
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        motion_weighted: prefer windows in which much moves.
    """

    clips: int = 1
    num_frames: int = 20
    step: float = 0.04
    motion_weighted: bool = False

    @property
    def seconds(self) -> float:
        """One clip."""
        return self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]``, rising or falling."""
        times = RandomClips(self.clips, self.num_frames, self.step, self.motion_weighted)(info, rng).times
        turned = torch.rand(self.clips, 1, generator=rng) < 0.5
        return ClipTimes(torch.where(turned, times.flip(1), times))


class ArrowOfTime(Method):
    """Is this clip played forwards or backwards?

    T-CAM: a clip is cut into chunks that pass through one network; their last maps are put side
    by side in the order shown, convolved, averaged over space and classified by one linear layer, which, applied to
    each place before averaging, shows where the answer comes from. The target is read off the timestamps.

    Metric: ``accuracy``; chance is 0.5.

    The paper shows the network optical flow. Here it sees RGB, as it does when it is used, or differences of frames,
    which change their sign when time is reversed but not their size. Optical flow hides what is seen in single frames;
    RGB does not, so that two cues which the paper removes from its videos need care: black borders are
    the same in both directions and tell nothing by themselves, and a camera that moves rather one way than the other
    (zooms in, tilts down) is hidden by ``drift``. Traces of the codec are hidden by ``flicker``.

    Args:
        encoder: clip or frame encoder.
        sampler: draws the clips; its frames must be a multiple of ``chunks``.
        chunks: parts of a clip (the authors' code: 2 of 10 frames of flow).
        differences: show the encoder the differences of successive frames of a chunk, one picture less.
        drift: see `moving_crop`; 0 leaves the camera as it is, as the constructor's default does.
        flicker: see `avssl.methods.disguise.flicker`; 0 leaves frames as they are.
        hidden: channels of the two convolutions over the chunks' maps (the authors' code: 1024).
        dropout: after each of them (the authors' code: 0.5).

    Raises:
        ValueError: where the clips can't be cut into chunks.
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
        super().__init__()
        self.encoder, self.chunks, self.differences = encoder, chunks, differences
        self.drift, self.flicker = drift, flicker
        self.sampler = sampler or ForwardsOrBackwards()
        if self.sampler.num_frames % chunks:
            raise ValueError(f"ArrowOfTime: {self.sampler.num_frames} frames can't be cut into {chunks} equal chunks")
        layers: list[nn.Module] = []
        for channels in (chunks * encoder.num_features, hidden):
            layers += [nn.Conv2d(channels, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()]
            layers += [nn.Dropout(dropout)]
        self.fuse = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden, 1)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B·N clips."""
        score = self.evidence(self.disguised(clips.video.flatten(0, 1))).mean(dim=(1, 2))  # [B N]
        target = backwards(clips.times).flatten()
        return {
            "loss": F.binary_cross_entropy_with_logits(score, target.float()),
            "accuracy": a_video(((score > 0) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 0.5, device=score.device),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Forwards or backwards."""
        return [["backwards" if yes else "forwards" for yes in row] for row in backwards(clips.times).tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What the network sees, and where it sees time run backwards (red) or forwards (blue)."""
        seen = self.disguised(clips.video.flatten(0, 1))
        evidence = self.evidence(seen)[:, None]  # [B N, 1, H', W']
        red, blue = evidence.clamp(min=0).tanh(), -evidence.clamp(max=0).tanh()
        heat = torch.stack([red, torch.zeros_like(red), blue], 2)  # [B N, 1, 3, H', W']
        shape = clips.video.shape[:2]
        return {"seen": denormalise(seen).unflatten(0, shape), "evidence": heat.unflatten(0, shape)}

    def disguised(self, video: Tensor) -> Tensor:
        """``[M, T, 3, H, W]`` without a camera and a codec that could be told."""
        video = moving_crop(video, self.drift) if self.drift else video
        return flicker(video, self.flicker) if self.flicker else video

    def evidence(self, video: Tensor) -> Tensor:
        """``[M, T, 3, H, W]`` to ``[M, H', W']``: the class activation map, positive where it says backwards."""
        chunks = video.unflatten(1, (self.chunks, -1)).flatten(0, 1)  # [M chunks, T / chunks, 3, H, W]
        maps = self.encoder.maps(chunks.diff(dim=1) if self.differences else chunks)  # [M chunks, D, T', H', W']
        side_by_side = maps.mean(2).unflatten(0, (len(video), -1)).flatten(1, 2)  # [M, chunks D, H', W']
        return self.classifier(self.fuse(side_by_side).movedim(1, -1)).squeeze(-1).float()


def backwards(times: Tensor) -> Tensor:
    """``[..., T]`` seconds to ``[...]`` bool: is the last frame earlier than the first?"""
    return times[..., -1] < times[..., 0]
