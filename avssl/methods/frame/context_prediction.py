"""Context prediction.

C. Doersch, A. Gupta, A. A. Efros: Unsupervised Visual Representation Learning by Context Prediction. ICCV 2015.
https://arxiv.org/abs/1505.05192
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.disguise import drop_colours, project_colours
from avssl.methods.frame.patches import drawn, frames, tiles, vectors
from avssl.methods.heads import LateFusion
from avssl.pixels import STD

GRID, CENTRE, NEIGHBOURS = 3, 4, [0, 1, 2, 3, 5, 6, 7, 8]
Colours = Literal["dropping", "projection", "keep"]


class ContextPrediction(Method):
    """On which of eight sides of this patch does that one lie?

    Both patches pass through the encoder; their vectors are put side by side and classified (section 3, figures 2 and
    3). Here a frame gives the middle patch of a 3 x 3 grid with each of its eight neighbours: all eight answers, each
    once. The target is where the patches were cut, not a matter of time: no timestamps.

    Against trivial solutions (section 3.1): a gap between the patches, half as wide as they are; each patch is shifted
    at random, so that lines don't go on after a gap of known width; and since a lens draws the colours apart towards
    the border of a picture, by which a patch knows where it lies, colours are either dropped (two channels, drawn for
    each patch, become noise) or projected onto the plane without green against magenta.

    Metric: ``accuracy``; chance is 1/8.

    The paper's patches of 96 pixels come from anywhere in a large photograph; here the grid fills the crop, and sizes
    are shares of a cell's side. The paper also makes some patches coarse (down to 100 pixels in all), which is left
    out: patches of small frames are that coarse already.

    Args:
        encoder: frame encoder; sees patches one by one.
        sampler: draws the frames.
        patch: side of a patch as a share of its cell's (the paper: 96 pixels, 48 to the next patch).
        jitter: how much the places of a patch differ at most, as a share of the cell's side (the paper: 7 pixels
            either way); at most ``1 - patch``.
        colours: dropping, projection, or keep them all.
        width: of the layer over a patch's vector (fc6).
        hidden: width of the layer over both (fc7).

    Raises:
        ValueError: where a patch and its jitter don't fit into a cell.
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        patch: float = 96 / 144,
        jitter: float = 14 / 144,
        colours: Colours = "dropping",
        width: int = 4096,
        hidden: int = 4096,
    ) -> None:
        super().__init__()
        if not 0 < patch <= patch + jitter <= 1:
            raise ValueError(f"ContextPrediction: patch + jitter must be at most 1 (a cell), got {patch} + {jitter}")
        self.encoder, self.patch, self.jitter, self.colours = encoder, patch, jitter, colours
        self.sampler = sampler or RandomClips(clips=4, num_frames=1)
        self.head = LateFusion(encoder.num_features, 2, width, hidden, len(NEIGHBOURS))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over 8·B·N·T pairs of patches."""
        parts = self.head.part(vectors(self.encoder, self.patches(frames(clips))))  # [M, 9, width]
        neighbours = parts[:, NEIGHBOURS]  # [M, 8, width]
        middle = parts[:, CENTRE, None].expand_as(neighbours)
        scores = self.head(torch.stack([middle, neighbours], 2)).flatten(0, 1)  # [M 8, 8]
        target = torch.arange(len(NEIGHBOURS), device=scores.device).repeat(len(parts))
        return {
            "loss": F.cross_entropy(scores, target),
            "accuracy": per_video_mean((scores.argmax(1) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / len(NEIGHBOURS), device=scores.device),
        }

    def patches(self, pictures: Tensor) -> Tensor:
        """``[M, 3, H, W]`` to what the encoder sees of the 3 x 3 grid, ``[M, 9, 3, h, w]``, row by row."""
        cut = tiles(pictures, GRID, self.patch, self.jitter)
        if self.colours == "dropping":
            return drop_colours(cut.flatten(0, 1)).view_as(cut)
        if self.colours == "projection":
            scale = cut.new_tensor(STD).view(3, 1, 1)  # colours are projected in the screen's scale
            return project_colours(cut * scale) / scale
        return cut

    def describe(self, clips: Clips) -> list[list[str]]:
        """All eight."""
        return [["each of 8 neighbours of the middle patch"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The nine patches as the encoder sees them."""
        return {"patches": drawn(self.patches(frames(clips)), clips)}
