"""Odd-One-Out networks (O3N).

B. Fernando, H. Bilen, E. Gavves, S. Gould: Self-Supervised Video Representation Learning With Odd-One-Out Networks.
CVPR 2017. https://arxiv.org/abs/1611.06646
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, random_start, uniform
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.methods.losses import classification


@dataclass(frozen=True)
class OddOneOutClips:
    """Sub-sequences of one video, one of which has its frames in a wrong order.

    The frames of each sub-sequence are drawn in one of the paper's three ways:

    - ``consecutive``: ``step`` seconds apart, each sub-sequence from anywhere;
    - ``constrained``: at random places of a shared grid of 1.5 W frames, ``step`` seconds apart;
    - ``random``: each frame from anywhere in the video.

    All are shown in order except one at a random position, whose frames are permuted. Consecutive frames of the
    permuted sub-sequence are (W + 1) / 3 times as far apart in time, so more motion gives it away. ``disguise`` removes
    this cue on average: each sub-sequence is slowed down by its own factor between 0.6 and 1, and the odd one by
    3 / (W + 1) more. ``step`` must then be long enough that no frame of the odd one repeats, which would reveal it.

    Args:
        questions: sub-sequences per video (N + 1; the paper: 6).
        num_frames: frames per sub-sequence (W; the paper: 6).
        step: seconds between two frames of a consecutive sub-sequence.
        sampling: how frames are drawn.
        disguise: slow the odd sub-sequence down, as above; for consecutive and constrained sampling.
        motion_weighted: prefer windows with much motion.
    """

    questions: int = 6
    num_frames: int = 6
    step: float = 0.08
    sampling: Literal["consecutive", "constrained", "random"] = "constrained"
    disguise: bool = False
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)
        if self.disguise and self.sampling == "random":
            raise ValueError("OddOneOutClips: disguise=true needs sampling=consecutive or constrained, not random")

    @property
    def seconds(self) -> float:
        """Length of one sub-sequence, or of the window that all share."""
        return self._places * self.step + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N + 1, W]`` in the order shown."""
        window = random_start(info, self.seconds, rng, self.motion_weighted)
        odd = int(torch.randint(self.questions, (), generator=rng))
        shown = []
        for question in range(self.questions):
            times = self._in_order(info, window, question == odd, rng)
            if question == odd:
                order = torch.arange(self.num_frames)
                while torch.equal(order, order.sort().values):
                    order = torch.randperm(self.num_frames, generator=rng)
                times = times[order]
            shown.append(times)
        return ClipTimes(torch.stack(shown))

    @property
    def _places(self) -> int:
        return self.num_frames * 3 // 2 if self.sampling == "constrained" else self.num_frames

    def _in_order(self, info: VideoInfo, window: float, odd: bool, rng: torch.Generator) -> Tensor:
        if self.sampling == "random":
            low = torch.rand(self.num_frames, generator=rng, dtype=torch.float64)
            return (low * (info.duration - TINY)).sort().values
        places = torch.randperm(self._places, generator=rng)[: self.num_frames].sort().values.double()
        step = self.step
        if self.disguise:
            step *= uniform(0.6, 1.0, rng) * (3 / (self.num_frames + 1) if odd else 1.0)
        if self.sampling == "consecutive":
            window = random_start(info, self.seconds, rng, self.motion_weighted)
        start = window + uniform(0.0, self._places * (self.step - step), rng)
        return start + places * step


class OddOneOut(Method):
    """Identify the sub-sequence whose frames are in a wrong order.

    All pass through one network; their vectors are concatenated, or fused into the sum of the differences of all pairs,
    a fixed weight per position: N, N - 2, ... -N. The target is read off the timestamps.

    Metric: ``accuracy``; chance is one over the number of sub-sequences.

    The paper encodes a sub-sequence as a stack of frame differences in the input channels of an AlexNet (best), a sum
    of differences, which loses the order between the first and the last frame, or a dynamic image. Here any clip
    encoder reads the frames themselves, as after export, or their differences (the default).

    Args:
        fusion: how vectors are fused (the paper's best: the sum of differences).
        differences: encode the differences of consecutive frames.
        hidden: width of the fully connected layers (AlexNet: 4096).
    """

    sampler: OddOneOutClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: OddOneOutClips | None = None,
        fusion: Literal["difference", "concatenation"] = "difference",
        differences: bool = True,
        hidden: int = 512,
    ) -> None:
        super().__init__(encoder, sampler or OddOneOutClips())
        self.differences, self.fusion = differences, fusion
        questions = self.sampler.questions
        self.branch = nn.Sequential(nn.Linear(encoder.num_features, hidden), nn.ReLU())
        fused = hidden * questions if fusion == "concatenation" else hidden
        self.classifier = nn.Sequential(nn.Linear(fused, hidden), nn.ReLU(), nn.Linear(hidden, questions))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B questions."""
        video = clips.video.flatten(0, 1)  # [B (N + 1), W, 3, H, W]
        vectors = self.branch(self.encoder(video.diff(dim=1) if self.differences else video))
        vectors = rearrange(vectors, "(b question) d -> b question d", b=len(clips))
        fused = vectors.flatten(1) if self.fusion == "concatenation" else sum_of_differences(vectors)
        return classification(self.classifier(fused).float(), odd(clips.times), clips)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the odd sub-sequence."""
        target = odd(clips.times)
        return [["odd" if clip == place else "in order" for clip in range(clips.times.shape[1])] for place in target]


def odd(times: Tensor) -> Tensor:
    """Return which sub-sequence ever runs backwards in time: ``[B, N + 1, W]`` seconds to ``[B]``."""
    return (times.diff(dim=-1) < 0).any(-1).long().argmax(1)


def sum_of_differences(vectors: Tensor) -> Tensor:
    """Return the sum of v_i - v_j over all i < j: ``[B, N + 1, D]`` to ``[B, D]``."""
    count = vectors.shape[1]
    weight = count - 1 - 2 * torch.arange(count, device=vectors.device, dtype=vectors.dtype)
    return (vectors * weight.view(1, -1, 1)).sum(1)
