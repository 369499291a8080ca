"""Odd-One-Out networks (O3N).

B. Fernando, H. Bilen, E. Gavves, S. Gould: Self-Supervised Video Representation Learning With Odd-One-Out Networks.
CVPR 2017. https://arxiv.org/abs/1611.06646
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, random_start, uniform
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method


@dataclass(frozen=True)
class OddOneOutClips:
    """Sub-sequences of one video, of which one shows its frames in a wrong order.

    The frames of each sub-sequence are drawn in one of the paper's three ways:

    - ``consecutive``: ``step`` seconds apart, each sub-sequence from anywhere;
    - ``constrained``: at random places of a grid of 1.5 W frames, ``step`` seconds apart, that all share;
    - ``random``: each frame from anywhere in the video.

    They are shown in order, but for one sub-sequence at a random place, whose frames are permuted. Frames next to each
    other in a permuted sub-sequence are (W + 1) / 3 times as far apart as in one in order, so that it moves more: a
    cue that needs no order. ``disguise`` takes it away on average: each sub-sequence is slowed down, by a factor of its
    own between 0.6 and 1, and the odd one by 3 / (W + 1) more. Then ``step`` must be so long that the odd one, too, is
    not read faster than it was filmed: repeated frames would give it away.

    Args:
        questions: sub-sequences a video (N + 1; the paper: 6).
        num_frames: frames of a sub-sequence (W; the paper: 6).
        step: seconds between two frames of a consecutive sub-sequence.
        sampling: how frames are drawn.
        disguise: see above; for consecutive and constrained sampling.
        motion_weighted: prefer windows in which much moves.
    """

    questions: int = 6
    num_frames: int = 6
    step: float = 0.08
    sampling: Literal["consecutive", "constrained", "random"] = "constrained"
    disguise: bool = False
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        if self.disguise and self.sampling == "random":
            raise ValueError(
                "OddOneOutClips: disguise slows the odd frames down, which sampling=random has no pace for"
            )

    @property
    def seconds(self) -> float:
        """One sub-sequence, or the window that all are drawn from."""
        return self._places * self.step + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N + 1, W]`` in the order in which the frames are shown."""
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
    """Which of these sub-sequences is in a wrong order?

    All pass through one network; their vectors are fused and classified. Fused means put side by side, or added up as
    the sum of the differences of all pairs, which is a fixed weight for each place: N, N - 2, ... -N. The target is
    read off the timestamps.

    Metric: ``accuracy``; chance is one over the number of sub-sequences.

    The paper encodes a sub-sequence as a stack of frame differences in the channels of an AlexNet's first layer (best),
    a sum of differences or a dynamic image. Here any clip encoder sees the frames themselves, as it does when it is
    used, or their differences (the constructor's default, the paper's choice), one picture less. A sum of differences
    is the last frame less the first one, in which the order of the others is lost: it is left out.

    Args:
        encoder: clip encoder.
        sampler: draws the sub-sequences.
        fusion: of the vectors (the paper's best: the sum of differences).
        differences: show the encoder the differences of successive frames.
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
        super().__init__()
        self.encoder, self.differences, self.fusion = encoder, differences, fusion
        self.sampler = sampler or OddOneOutClips()
        questions = self.sampler.questions
        self.branch = nn.Sequential(nn.Linear(encoder.num_features, hidden), nn.ReLU())
        fused = hidden * questions if fusion == "concatenation" else hidden
        self.classifier = nn.Sequential(nn.Linear(fused, hidden), nn.ReLU(), nn.Linear(hidden, questions))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B questions."""
        video = clips.video.flatten(0, 1)  # [B (N + 1), W, 3, H, W]
        vectors = self.branch(self.encoder(video.diff(dim=1) if self.differences else video))
        vectors = vectors.unflatten(0, (len(clips), -1))  # [B, N + 1, hidden]
        fused = vectors.flatten(1) if self.fusion == "concatenation" else sum_of_differences(vectors)
        scores = self.classifier(fused).float()  # [B, N + 1]
        target = odd(clips.times)
        return {
            "loss": F.cross_entropy(scores, target),
            "accuracy": (scores.argmax(1) == target).float(),
            "chance/accuracy": torch.full((len(clips),), 1 / scores.shape[1], device=scores.device),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which sub-sequence is odd."""
        target = odd(clips.times)
        return [["odd" if clip == place else "in order" for clip in range(clips.times.shape[1])] for place in target]


def odd(times: Tensor) -> Tensor:
    """``[B, N + 1, W]`` seconds to ``[B]``: the place of the sub-sequence in which time ever runs backwards."""
    return (times.diff(dim=-1) < 0).any(-1).long().argmax(1)


def sum_of_differences(vectors: Tensor) -> Tensor:
    """``[B, N + 1, D]`` to ``[B, D]``: the sum of v_i - v_j over all i < j."""
    count = vectors.shape[1]
    weight = count - 1 - 2 * torch.arange(count, device=vectors.device, dtype=vectors.dtype)
    return (vectors * weight.view(1, -1, 1)).sum(1)
