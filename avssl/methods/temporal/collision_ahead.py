"""Collision prediction conditioned on actions (the generalised computation graph).

G. Kahn, A. Villaflor, B. Ding, P. Abbeel, S. Levine: Self-supervised Deep Reinforcement Learning with Generalized
Computation Graphs for Robot Navigation. ICRA 2018. https://arxiv.org/abs/1709.10489
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, clip_times, on_frames, random_start
from avssl.encoders import Encoder
from avssl.labels import Crashes
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.distributed import drawn, roll, shared_mean
from avssl.runtime.checks import check_ranges

GRID = 4, 8  # cells of the last maps that the state depends on


@dataclass(frozen=True)
class BeforeActions:
    """Clips after which there is time for a number of actions, each starting with the start of a frame.

    Args:
        clips: clips per video (N).
        num_frames: frames per clip (paper: 4).
        step: seconds between two frames, and of each action (paper: 0.25).
        horizon: actions after the last frame (paper: 16).
    """

    clips: int = 8
    num_frames: int = 4
    step: float = 0.25
    horizon: int = 16

    def __post_init__(self) -> None:
        check_sampler(self)
        check_ranges("sampler", self, horizon="[1, inf)")

    @property
    def seconds(self) -> float:
        """Duration of the frames and the actions."""
        return (self.num_frames - 1 + self.horizon) * self.step + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``."""
        starts = [random_start(info, self.seconds, rng) for _ in range(self.clips)]
        on = on_frames(torch.tensor(starts, dtype=torch.float64), info)
        return ClipTimes(clip_times(on, self.num_frames, self.step))


class CollisionAhead(Method):
    """Predict from a few frames whether a given sequence of steerings leads to a collision, and by which step.

    Convolutions of the frames give the initial state of an LSTM, which reads the next H steerings; after each, it says
    how probable it is that the car has collided by then. Labels are free: a
    collision is felt. From it on the label is 1, and as what is recorded after it says nothing, later steerings are
    drawn at random, so that the state alone has to tell. The loss is the cross-entropy over all steps.

    A car drives by it: of many sequences of steerings it takes the first action of the one with the lowest mean
    probability, and plans anew (`benchmarks/drive.py`).

    In training, half of the clips are mirrored, pictures and steerings alike; the paper doesn't.

    Metrics: ``ranking``, how often of two videos of the batch, of which one has collided by a step, that one is given
    the higher probability, over all steps: the area under the ROC curve; ``ranking_4`` by the fourth step alone.
    A constant answer has 1/2. Chance, which is at least that, is what the same steerings reach after the frames of
    another video.

    Args:
        encoder: of clips; it is kept.
        sampler: has the ``step`` and the ``horizon`` of the labeller.
        labeller: steerings and collisions.
        width: units of the LSTM (paper: 64, whose output and cell are a state of 128).
        hidden: units between encoder and state (paper: 256).

    Raises:
        ValueError: if steps or horizon of the sampler and of the labeller differ.
    """

    sampler: BeforeActions
    labeller: Crashes

    def __init__(
        self,
        encoder: Encoder,
        sampler: BeforeActions | None = None,
        labeller: Crashes | None = None,
        width: int = 64,
        hidden: int = 256,
    ) -> None:
        super().__init__(encoder, sampler or BeforeActions())
        self.labeller = labeller or Crashes(horizon=self.sampler.horizon, step=self.sampler.step)
        own, other = ((part.horizon, part.step) for part in (self.sampler, self.labeller))
        if own != other:
            raise ValueError(f"CollisionAhead: horizon and step of sampler {own} and labeller {other} differ")
        cells = GRID[0] * GRID[1] * encoder.num_features
        self.start = nn.Sequential(nn.Linear(cells, hidden), nn.ReLU(), nn.Linear(hidden, 2 * width))
        self.action = nn.Sequential(nn.Linear(1, 16), nn.ReLU())
        self.cell = nn.LSTMCell(16, width)
        self.out = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N clips after which the car drives forwards."""
        assert clips.target is not None
        steering, state = clips.target.unbind(-1)  # [B, N, H] each
        collided, known = state > 0, state >= 0
        video = clips.video

        def randoms(count: int) -> Tensor:
            return torch.rand(count, *steering.shape[1:], device=steering.device)

        before = F.pad(collided[..., :-1], (1, 0))  # had already collided when the step began
        steering = torch.where(before, 2 * drawn(randoms, len(clips)) - 1, steering)
        if self.training:
            mirrored = drawn(randoms, len(clips))[..., 0] < 0.5  # [B, N]
            video = torch.where(mirrored[..., None, None, None, None], video.flip(-1), video)
            steering = torch.where(mirrored[..., None], -steering, steering)
        states = self.states(video.flatten(0, 1))
        logits = self.predict(states, steering.flatten(0, 1)).unflatten(0, steering.shape[:2])  # [B, N, H]
        cost = F.binary_cross_entropy_with_logits(logits, collided.float(), reduction="none")
        with torch.no_grad():
            other = roll(states.unflatten(0, steering.shape[:2]), 1).flatten(0, 1)
            blind = self.predict(other, steering.flatten(0, 1)).view_as(logits)
            ours, chance = (ranked(scores, collided, known) for scores in (logits.detach(), blind))  # [B, N, H]
        at = min(4, logits.shape[2]) - 1
        level = chance.mean((0, 1)).clamp(min=0.5).expand_as(chance)
        return measured(
            clips,
            shared_mean(cost, known),
            ranking=(ours, level),
            ranking_4=(ours[..., at], level[..., at]),
        )

    def states(self, clips: Tensor) -> Tensor:
        """Return the state ``[M, 2 width]`` float32 that normalised clips ``[M, T, 3, H, W]`` leave the car in."""
        maps = self.encoder.maps(clips).mean(2)  # [M, D, h, w]
        return self.start(F.adaptive_avg_pool2d(maps, GRID).flatten(1)).float()

    def predict(self, states: Tensor, steering: Tensor) -> Tensor:
        """Return logits ``[M, H]`` of having collided by each step, from states ``[M, D]`` and steerings ``[M, H]``."""
        read = self.action(steering[..., None])  # [M, H, 16]
        output, cell = states.chunk(2, 1)
        outputs = []
        for step in read.unbind(1):
            output, cell = self.cell(step.float(), (output, cell))
            outputs.append(output)
        return self.out(torch.stack(outputs, 1)).float().squeeze(2)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Say after how many steps a clip is followed by a collision, and how the car steers until then."""
        assert clips.target is not None

        def words(target: Tensor) -> str:
            steering, state = target.unbind(-1)
            if state[0] < 0:
                return "backs up"
            safe = int((state == 0).sum())
            ways = " ".join(f"{value:+.1f}" for value in steering[: safe + 1].tolist())
            return (f"collides in step {safe + 1}: " if safe < len(state) else "doesn't collide: ") + ways

        return [[words(clip) for clip in video] for video in clips.target.cpu()]


def ranked(scores: Tensor, positive: Tensor, known: Tensor) -> Tensor:
    """Return how often each of ``[B, N, H]`` is on the right side of those of the other class, step by step.

    Equal scores count one half. The mean over a step, ``[B, N]``, is the area under its ROC curve: what is unknown is
    given the area itself, and 1/2 where a class is missing.
    """
    shape = scores.shape
    scores, positive, known = (part.flatten(0, 1).T for part in (scores, positive, known))  # [H, M]
    above = (scores[:, :, None] - scores[:, None]).sign() / 2 + 0.5  # [H, M, M]
    others = (positive[:, :, None] != positive[:, None]) & known[:, :, None] & known[:, None]
    right = torch.where(positive[:, :, None], above, 1 - above) * others
    area = torch.where(others.any((1, 2)), right.sum((1, 2)) / others.sum((1, 2)).clamp(min=1), 0.5)[:, None]
    share = torch.where(others.any(2), right.sum(2) / others.sum(2).clamp(min=1), area)
    return share.T.unflatten(0, shape[:2])
