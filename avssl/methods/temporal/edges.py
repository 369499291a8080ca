"""Unsupervised learning of edges.

Y. Li, M. Paluri, J. M. Rehg, P. Dollár: Unsupervised Learning of Edges. CVPR 2016. https://arxiv.org/abs/1511.04166
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.labels import ConfidentFlow, boundary_f, image_edges, motion_edges, relative_edges
from avssl.methods.base import Method
from avssl.methods.maps import MapHead, by_cells, chance, drawn, logistic, middle_frames, of_middle_frames

CUTS = (0.2, 0.4, 0.6, 0.8, 0.95)  # thresholds at which image gradients are tried as edges, for the chance level


class EdgesFromMotion(Method):
    """Where in a single picture do things end?

    Edges and flow are improved in turn (section 3): flow is smoothed everywhere but across edges, its jumps are motion
    edges, a detector learns to find them in the single (middle) frame, and its edges, better than the ones before, are
    those across which the flow is not smoothed in the next round. In the first round edges are image gradients. A round
    is a share of the training; at its end the detector is copied, and the copy makes the edges of the next one.

    Metric: ``boundary_f``, cell by cell, against the motion edges of the round. Chance is the best of calling all cells
    edges, of calling strong image gradients edges (at the best threshold), and of the edges predicted for another
    video; all are 0 where nothing moves.

    The paper matches semi-densely and interpolates by EpicFlow, here dense inverse search with a check there and back
    is relaxed along a grid; its detectors are structured forests and HED, here a head over the stages of a ResNet at a
    quarter of the resolution; it trains a detector anew in each round, here it goes on.

    Args:
        encoder: frame encoder.
        sampler: the clip whose motion is the label; the middle frame is shown.
        labeller: makes flow and confidence.
        width: channels of the head.
        rounds: of flow and edges (the paper: 4).
        jump: difference of velocity between neighbouring cells, in picture widths a second, that is a full edge.
        edge: weight of a cell with an edge, against 1 of one without.
    """

    encoder: ResNet

    def __init__(
        self,
        encoder: ResNet,
        sampler: RandomClips | None = None,
        labeller: ConfidentFlow | None = None,
        width: int = 64,
        rounds: int = 4,
        jump: float = 0.1,
        edge: float = 3.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(num_frames=3, step=0.08, motion_weighted=True)
        self.labeller = labeller or ConfidentFlow()
        self.head = MapHead(encoder, 1, width)
        self.rounds, self.jump, self.edge = rounds, jump, edge
        self.teacher = copy.deepcopy(torch.nn.ModuleDict({"encoder": encoder, "head": self.head})).requires_grad_(False)
        self.register_buffer("round", torch.zeros((), dtype=torch.long))

    round: Tensor

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and boundary F-score over all cells."""
        scores = self.scores(clips)  # [B, N, h, w]
        strength = self.strength(clips, scores.shape[-2:])
        target = strength > 0.4
        sure = target | (strength < 0.2)
        found = scores > 0
        image = self.image_edges(clips, scores.shape[-2:]).view_as(scores)

        def score(edges: Tensor) -> Tensor:
            return boundary_f(edges, target, tolerance=0).mean(1)

        return {
            "loss": logistic(scores, target, sure, self.edge),
            "boundary_f": score(found),
            "chance/boundary_f": chance(score, found, torch.ones_like(found), *(image > cut for cut in CUTS)),
        }

    def scores(self, clips: Clips) -> Tensor:
        """``[B, N, h, w]`` logits of the middle frames; nothing else is looked at."""
        return of_middle_frames(self.head, self.encoder, clips)

    @torch.no_grad()
    def strength(self, clips: Clips, size: Sequence[int]) -> Tensor:
        """The motion edges of the present round by cells: ``[B, N, h, w]`` in [0, 1]."""
        assert clips.target is not None
        measured = by_cells(clips.target.flatten(0, 1), size)  # [B N, 3, h, w]
        picture = middle_frames(clips)
        if self.round == 0:
            edges = self.image_edges(clips, size)
        else:
            self.teacher.eval()
            stages: list[Tensor] = self.teacher["encoder"].stages(picture)  # type: ignore[operator]
            edges = relative_edges(self.teacher["head"](stages).squeeze(1).sigmoid())
        return motion_edges(measured, edges, self.jump, edges).unflatten(0, clips.video.shape[:2])

    def image_edges(self, clips: Clips, size: Sequence[int]) -> Tensor:
        """How abruptly the middle frames change from cell to cell: ``[B N, h, w]`` in [0, 1]."""
        return image_edges(by_cells(middle_frames(clips)[:, 0].mean(1), size))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """At the end of a round the copy becomes what the detector is."""
        now = min(int(progress * self.rounds), self.rounds - 1)
        if now > int(self.round):
            self.teacher["encoder"].load_state_dict(self.encoder.state_dict())
            self.teacher["head"].load_state_dict(self.head.state_dict())
            self.round.fill_(now)

    def describe(self, clips: Clips) -> list[list[str]]:
        """How fast the picture moves."""
        assert clips.target is not None
        speed = clips.target[:, :, :2].norm(dim=2).flatten(2).mean(2)
        return [[f"{mean:.2f} widths/s" for mean in row] for row in speed.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The motion edges of the present round and the probability of an edge."""
        scores = self.scores(clips)
        found = {"target": self.strength(clips, scores.shape[-2:]), "prediction": scores.sigmoid()}
        return {name: drawn(maps) for name, maps in found.items()}
