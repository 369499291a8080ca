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
from avssl.methods.dense import accuracy_and_chance, class_counts
from avssl.pixels import constants


class FlowPrediction(Method):
    """Predict the motion of each cell over several steps into the future.

    A convolutional LSTM reads the encoder's maps of the first ``seen`` frames. A second one takes over its state and
    unrolls one state per step without input; each is upsampled to a map of atomic flows, classes of direction and speed
    (section 3, figure 2). The first predicted step lies between the last two frames seen, the others in the future. The
    loss is cross-entropy, in which static cells, the majority, have a smaller weight.

    Metrics: ``accuracy`` over all cells and steps, corrected for that weight, and ``moving``, over the moving cells, of
    the most probable moving class. Chance is the better of the most frequent class and another video's prediction.

    The paper shows two frames; more may be shown here, because the exported encoder reads clips. Its flow is in 3D,
    from recorded depth (`AtomicSceneFlow`); without depth it is in 2D, from RGB (`AtomicFlow`).

    Args:
        sampler: draws the ``seen`` frames, then one more per future step.
        labeller: computes the atomic flows; 2D if None.
        seen: number of input frames, at least 2 and fewer than are drawn (the paper: 2).
        width: channels of the recurrent and the upsampling layers.
        still: loss weight of a static cell, relative to 1 for a moving one.
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
        super().__init__(encoder, sampler or RandomClips(num_frames=seen + 7))
        if not 2 <= seen < self.sampler.num_frames:
            raise ValueError(f"FlowPrediction: expected 2 <= seen < num_frames, got seen={seen} and {self.sampler}")
        self.labeller, self.seen, self.still = labeller or AtomicFlow(), seen, still
        self.reads = ConvLSTM(encoder.num_features, width)
        self.unrolls = ConvLSTM(0, width)
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.upsampled = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(width, self.labeller.classes, 3, padding=1)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over all cells of all steps."""
        scores = self.scores(clips)  # [B, S, K, g, g]
        target = self.targets(clips)  # [B, S, g, g]
        weight = constants([self.still, *[1.0] * (scores.shape[2] - 1)], scores)
        right = target.reshape(len(clips), -1)  # [B, N S g g]
        counts = class_counts(right, scores.shape[2])
        out = {"loss": F.cross_entropy(scores.flatten(0, 1), target.flatten(0, 1), weight)}
        for name, answer, common, counted in (
            ("accuracy", self.most_probable(scores), counts.argmax(), torch.ones_like(right, dtype=torch.bool)),
            ("moving", 1 + scores[:, :, 1:].argmax(2), 1 + counts[1:].argmax(), right > 0),
        ):
            out |= accuracy_and_chance(name, answer.view_as(right), right, counted, common.expand_as(right))
        return out

    def most_probable(self, scores: Tensor) -> Tensor:
        """Return the most probable classes ``[B N, S, g, g]``, corrected for the weight of static cells."""
        still, moving = scores[:, :, :1], scores[:, :, 1:]
        return torch.cat([still - math.log(self.still), moving], 2).argmax(2)

    def scores(self, clips: Clips) -> Tensor:
        """Return class logits ``[B N, S, K, g, g]`` for S steps, the first between the last two frames seen."""
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

    def targets(self, clips: Clips) -> Tensor:
        """Return the true classes of the predicted steps: ``[B N, S, g, g]``."""
        assert clips.target is not None
        return clips.target[:, :, self.seen - 2 :].flatten(0, 1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the share of cells that move in the predicted steps."""
        moving = (self.targets(clips) > 0).flatten(1).float().mean(1).view(clips.video.shape[:2])
        steps = self.sampler.num_frames - self.seen + 1
        return [[f"{share:.0%} of cells move in {steps} steps" for share in row] for row in moving.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return atomic flows as colours; see the labeller's ``drawn``."""
        several = {"target": self.targets(clips), "prediction": self.most_probable(self.scores(clips))}
        shape = clips.video.shape[:2]
        return {name: self.labeller.to_rgb(classes).unflatten(0, shape) for name, classes in several.items()}


class ConvLSTM(nn.Module):
    """One step of a convolutional LSTM (Shi et al., NIPS 2015), without peepholes; 0 channels for no input."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor | None, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return the next hidden and cell state ``[M, width, h, w]``; ``x`` is ``[M, inputs, h, w]`` or None."""
        if state is None:
            assert x is not None
            zeros = x.new_zeros(len(x), self.width, *x.shape[-2:])
            state = zeros, zeros.float()
        hidden, cell = state
        read = hidden if x is None else torch.cat([x, hidden], 1)
        keep, add, show, new = self.gates(read).float().chunk(4, 1)
        cell = (keep + 1).sigmoid() * cell + add.sigmoid() * new.tanh()
        return show.sigmoid() * cell.tanh(), cell
