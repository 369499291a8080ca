"""Geometric transformations of clips or frames, for finding what is odd.

I. Golan, R. El-Yaniv: Deep Anomaly Detection Using Geometric Transformations. NeurIPS 2018.
https://arxiv.org/abs/1805.10917
D. Hendrycks, M. Mazeika, S. Kadavath, D. Song: Using Self-Supervised Learning Can Improve Model Robustness and
Uncertainty. NeurIPS 2019. https://arxiv.org/abs/1906.12340
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.encoders.base import Exportable
from avssl.encoders.transformed import Changes, TransformationJudge
from avssl.methods.base import Method, measured


class Transformations(Method):
    """Predict which combination of turn, mirroring, shift, reversal and pace a clip has undergone.

    A clip is shown in ``draws`` combinations drawn at random (Golan and El-Yaniv: in all, each an example of its own).
    A network that has learnt to tell them apart on normal clips is less sure of odd ones: `avssl anomaly` reads the
    exported judge (`avssl.encoders.transformed.TransformationJudge`), the encoder and its heads.

    Metric: ``accuracy`` over all combinations; chance is one over their number.

    Args:
        encoder: clip or frame encoder, of clips of ``sampler.num_frames`` over the largest pace.
        sampler: draws the frames read, of which a clip at a slower pace shows the middle.
        changes: the combinations; 32 by default.
        draws: combinations of each clip in a step.
        joint: one softmax over all combinations (Golan and El-Yaniv); otherwise one per factor, with the mean of their
            losses (Hendrycks et al., section 4).
    """

    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        changes: Changes | None = None,
        draws: int = 8,
        joint: bool = True,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=16, step=0.08))
        self.judge = TransformationJudge(encoder, changes or Changes(), joint)
        self.judge.changes.shown(self.sampler.num_frames)
        self.draws = min(draws, self.judge.changes.count)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N·J transformed clips."""
        video = clips.video.flatten(0, 1)
        numbers = self.drawn(len(video), video.device)
        logits = self.judge.logits(self.judge.changes.apply(video, numbers).flatten(0, 1))
        target = self.judge.targets(numbers.flatten())
        loss = torch.stack([F.cross_entropy(logits[name], wanted) for name, wanted in target.items()]).mean()
        right = torch.stack([logits[name].argmax(1) == wanted for name, wanted in target.items()]).all(0)
        return measured(clips, loss, accuracy=(right, 1 / self.judge.changes.count))

    def drawn(self, clips: int, device: torch.device) -> Tensor:
        """Draw J different combinations of each of M clips: ``[M, J]``."""
        return torch.rand(clips, self.judge.changes.count, device=device).argsort(1)[:, : self.draws]

    def exports(self) -> dict[str, Exportable]:
        """Return the encoder, and with its heads the ``judge``."""
        return {"encoder": self.encoder, "judge": self.judge}

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name some of the combinations."""
        changes = self.judge.changes
        some = "; ".join(changes.words(number) for number in range(0, changes.count, max(1, changes.count // 4)))
        return [[f"one of {changes.count}: {some}; ..."] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip in some combinations, and what its pace and direction show."""
        changes, video = self.judge.changes, clips.rgb.flatten(0, 1)
        numbers = torch.linspace(0, changes.count - 1, min(changes.count, 8)).long().expand(len(video), -1)
        shown = changes.apply(video, numbers.to(video.device))  # [B N, J, T, 3, S, S]
        return {"transformed": shown[:, :, 0].unflatten(0, clips.video.shape[:2])}
