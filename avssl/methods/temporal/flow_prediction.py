"""Prediction of atomic flows.

Z. Luo, B. Peng, D.-A. Huang, A. Alahi, L. Fei-Fei: Unsupervised Learning of Long-Term Motion Dynamics for Videos.
CVPR 2017. https://arxiv.org/abs/1701.01821
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.labels import AtomicFlow, AtomicSceneFlow
from avssl.methods.base import Method
from avssl.methods.maps import chance, share


class FlowPrediction(Method):
    """How will each part of the picture move from now on, step by step?

    A convolutional LSTM reads the encoder's maps of the first ``seen`` frames; a second one takes over its state and,
    without input, unrolls one state a step; each is upsampled to a map of atomic flows, directions and speeds as
    classes (section 3, figure 2). The first step predicted lies between the last two frames seen, the others in the
    future. The loss is cross-entropy; cells that stand still, most of them, weigh less.

    Metrics: ``accuracy`` over all cells and steps, of what is most probable once that weight is taken out again, and
    ``moving``, over the cells that move, of the most probable class among those that move. Chance is the share of the
    batch's most frequent class, or what the prediction for another video reaches, whichever is more.

    The paper's flow is in 3D, from recorded depth (`AtomicSceneFlow`); where there is none it is in 2D, from RGB
    (`AtomicFlow`). The paper shows two frames; more may be seen here, because the encoder that is kept reads clips.

    Args:
        encoder: frame or clip encoder.
        sampler: ``seen`` frames and, from them on, one more for each step of the future.
        labeller: makes the atomic flows, in 2D where None.
        seen: frames that are shown (the paper: 2).
        width: channels of the recurrent and the upsampling layers.
        still: weight of a cell that stands still, against 1 of one that moves.

    Raises:
        ValueError: where the sampler draws no frame beyond those seen.
    """

    labeller: AtomicFlow | AtomicSceneFlow
    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        labeller: AtomicFlow | AtomicSceneFlow | None = None,
        seen: int = 2,
        width: int = 64,
        still: float = 0.2,
    ) -> None:
        super().__init__()
        self.sampler = sampler or RandomClips(num_frames=seen + 7)
        if not 2 <= seen < self.sampler.num_frames:
            raise ValueError(
                f"FlowPrediction: expected 2 <= seen < sampler.num_frames, got seen={seen}, "
                f"num_frames={self.sampler.num_frames}"
            )
        self.encoder = encoder
        self.labeller = labeller or AtomicFlow()
        self.seen, self.still = seen, still
        self.reads = ConvLSTM(encoder.num_features, width)
        self.unrolls = ConvLSTM(0, width)
        self.upsampled = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(width, self.labeller.classes, 3, padding=1)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over all cells of all steps."""
        scores = self.scores(clips)  # [B, S, K, g, g]
        target = self.wanted(clips)  # [B, S, g, g]
        weight = torch.ones(scores.shape[2], device=scores.device)
        weight[0] = self.still
        out = {"loss": F.cross_entropy(scores.flatten(0, 1), target.flatten(0, 1), weight)}
        right = target.reshape(len(clips), -1)  # [B, N S g g]
        counts = right.flatten().bincount(minlength=scores.shape[2])
        for name, answer, common, counted in (
            ("accuracy", self.likely(scores), counts.argmax(), torch.ones_like(right, dtype=torch.bool)),
            ("moving", 1 + scores[:, :, 1:].argmax(2), 1 + counts[1:].argmax(), right > 0),
        ):

            def score(guess: Tensor, counted: Tensor = counted) -> Tensor:
                return share(guess == right, counted)

            answer = answer.view_as(right)
            out[name] = score(answer)
            out[f"chance/{name}"] = chance(score, answer, common.expand_as(right))
        return out

    def likely(self, scores: Tensor) -> Tensor:
        """Scores to the most probable classes ``[B N, S, g, g]``, once the weight of still cells is taken out."""
        still, moving = scores[:, :, :1], scores[:, :, 1:]
        return torch.cat([still - math.log(self.still), moving], 2).argmax(2)

    def scores(self, clips: Clips) -> Tensor:
        """``[B N, S, K, g, g]`` of each class in each cell, S steps from the last two frames seen on."""
        maps = self.encoder.maps(clips.video[:, :, : self.seen].flatten(0, 1))  # [B N, D, T', h, w]
        state = None
        for step in maps.unbind(2):
            state = self.reads(step, state)
        steps = []
        for _ in range(self.sampler.num_frames - self.seen + 1):
            state = self.unrolls(None, state)
            steps.append(state[0])
        states = torch.stack(steps, 1)  # [B N, S, width, h, w]
        grid = (self.labeller.grid, self.labeller.grid)
        fine = F.interpolate(self.upsampled(states.flatten(0, 1)), size=grid, mode="bilinear")
        return self.classifier(fine).float().unflatten(0, states.shape[:2])

    def wanted(self, clips: Clips) -> Tensor:
        """``[B N, S, g, g]`` the true classes of the predicted steps."""
        assert clips.target is not None
        return clips.target[:, :, self.seen - 2 :].flatten(0, 1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which share of the cells moves in the predicted steps."""
        moving = (self.wanted(clips) > 0).flatten(1).float().mean(1).view(clips.video.shape[:2])
        steps = self.sampler.num_frames - self.seen + 1
        return [[f"{share:.0%} of cells move in {steps} steps" for share in row] for row in moving.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Atomic flows as colours; see the labeller's ``drawn``."""
        several = {"target": self.wanted(clips), "prediction": self.likely(self.scores(clips))}
        return {
            name: self.labeller.to_rgb(classes).unflatten(0, clips.video.shape[:2]) for name, classes in several.items()
        }


class ConvLSTM(nn.Module):
    """One step of a convolutional LSTM (Shi et al., NIPS 2015), without peepholes.

    Args:
        inputs: channels of the input; 0 for none.
        width: channels of the state.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor | None, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Input ``[M, inputs, h, w]`` (or None) and state to the next state: hidden and cell ``[M, width, h, w]``."""
        if state is None:
            assert x is not None
            zeros = x.new_zeros(len(x), self.width, *x.shape[-2:])
            state = zeros, zeros.float()
        hidden, cell = state
        read = hidden if x is None else torch.cat([x, hidden], 1)
        keep, add, show, new = self.gates(read).float().chunk(4, 1)
        cell = (keep + 1).sigmoid() * cell + add.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell
