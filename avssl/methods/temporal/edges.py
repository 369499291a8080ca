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
from avssl.methods import dense
from avssl.methods.counters import HostNumber
from avssl.methods.temporal.common import MiddleFrameMethod

CUTS = (0.2, 0.4, 0.6, 0.8, 0.95)  # thresholds on image gradients, for the chance level


class EdgesFromMotion(MiddleFrameMethod):
    """Predict from a single frame the edges at which motion changes.

    Flow is smoothed except across edges; its discontinuities are motion edges; a detector learns to find them in the
    middle frame alone; and its edges, better than the previous ones, bound the smoothing in the next round (section 3).
    In the first round edges are image gradients; later, a copy of the detector, renewed after each round, finds them.

    Metric: ``boundary_f``, per cell, against the motion edges of the round. Chance is the best of: all cells are edges,
    image gradients at the best threshold, and the edges predicted for another video (0 without motion).

    Differences from the paper: dense inverse search with a forward-backward check, relaxed on a grid, instead of
    semi-dense matching and EpicFlow; a head over the stages of a ResNet at a quarter of the resolution instead of
    structured forests and HED; one detector trained throughout instead of a new one per round.

    Args:
        rounds: rounds of flow and edges (the paper: 4).
        jump: velocity difference of adjacent cells that makes a full edge, in image widths per second.
        edge: weight of an edge cell, relative to 1 for others.
    """

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
        sampler = sampler or RandomClips(num_frames=3, step=0.08, motion_weighted=True)
        super().__init__(encoder, sampler, labeller or ConfidentFlow(), width)
        self.rounds, self.jump, self.edge = rounds, jump, edge
        self.teacher = copy.deepcopy(torch.nn.ModuleDict({"encoder": encoder, "head": self.head})).requires_grad_(False)
        self.now = HostNumber(self, "round")

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and boundary F-score over all cells."""
        scores = self.scores(clips)  # [B, N, h, w]
        strength = self.strength(clips, scores.shape[-2:])
        target = strength > 0.4
        sure = target | (strength < 0.2)
        found = scores > 0
        image = self.image_edges(clips, scores.shape[-2:]).view_as(scores)
        blind = [torch.ones_like(found), *(image > cut for cut in CUTS)]

        def score(edges: Tensor) -> Tensor:
            return boundary_f(edges, target, tolerance=0).mean(1)

        return {
            "loss": dense.masked_logistic_loss(scores, target, sure, self.edge),
            "boundary_f": score(found),
            "chance/boundary_f": dense.chance_level(score, found, *blind),
        }

    @torch.no_grad()
    def strength(self, clips: Clips, size: Sequence[int]) -> Tensor:
        """Return the current round's motion edges per cell: ``[B, N, h, w]`` in [0, 1]."""
        assert clips.target is not None
        measured = dense.cell_means(clips.target.flatten(0, 1), size)  # [B N, 3, h, w]
        frames = dense.middle_frames(clips)
        if self.now.value == 0:
            edges = self.image_edges(clips, size)
        else:
            self.teacher.eval()
            stages: list[Tensor] = self.teacher["encoder"].stages(frames)  # type: ignore[operator]
            edges = relative_edges(self.teacher["head"](stages).squeeze(1).sigmoid())
        return motion_edges(measured, edges, self.jump, edges).unflatten(0, clips.video.shape[:2])

    def image_edges(self, clips: Clips, size: Sequence[int]) -> Tensor:
        """Return the image gradients of the middle frames per cell: ``[B N, h, w]`` in [0, 1]."""
        return image_edges(dense.cell_means(dense.middle_frames(clips)[:, 0].mean(1), size))

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Copy the detector to the teacher at the end of a round."""
        now = min(int(progress * self.rounds), self.rounds - 1)
        if now > self.now.value:
            self.teacher["encoder"].load_state_dict(self.encoder.state_dict())
            self.teacher["head"].load_state_dict(self.head.state_dict())
            self.now.set(now)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the mean speed of each clip."""
        assert clips.target is not None
        speed = clips.target[:, :, :2].norm(dim=2).flatten(2).mean(2)
        return [[f"{mean:.2f} widths/s" for mean in row] for row in speed.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the current round's motion edges and the predicted edge probabilities."""
        scores = self.scores(clips)
        found = {"target": self.strength(clips, scores.shape[-2:]), "prediction": scores.sigmoid()}
        return {name: dense.grey_pictures(maps) for name, maps in found.items()}
