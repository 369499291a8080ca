"""Context prediction.

C. Doersch, A. Gupta, A. A. Efros: Unsupervised Visual Representation Learning by Context Prediction. ICCV 2015.
https://arxiv.org/abs/1505.05192
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.disguise import drop_colours, project_colours
from avssl.methods.frame.patches import cut_tiles, draw_patches, encode_patches
from avssl.methods.heads import LateFusion
from avssl.methods.losses import classification

GRID, CENTRE = 3, 4
NEIGHBOURS = GRID**2 - 1
Colours = Literal["dropping", "projection", "keep"]


class ContextPrediction(Method):
    """Predict the position of a patch relative to its neighbour, out of eight.

    The vectors of both patches are concatenated and classified (section 3, figures 2 and 3). Here a frame gives the
    centre patch of a 3 x 3 grid with each of its eight neighbours: all eight classes, once each. The target is where
    the patches were cut; timestamps play no part.

    Against trivial solutions (section 3.1), patches have a gap, half as wide as they are, and a random jitter; and as
    chromatic aberration reveals a patch's position, colours are dropped (two channels, drawn per patch, become noise)
    or projected onto the plane orthogonal to green-magenta.

    Metric: ``accuracy``; chance is 1/8.

    Args:
        encoder: frame encoder, applied to each patch.
        patch: side of a patch as a fraction of its cell's (paper: 96 pixels, 48 to the next patch).
        jitter: range of a patch's position, as a fraction of the cell's side (paper: ±7 pixels); at most ``1 - patch``.
        colours: dropping, projection, or keep them all.
        width: size of the layer over a patch's vector (fc6).
        hidden: size of the layer over both (fc7).
    """

    caption = "each of 8 neighbours of the middle patch"

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
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
        if not 0 < patch <= patch + jitter <= 1:
            raise ValueError(f"ContextPrediction: patch + jitter must be at most 1 (a cell), got {patch} + {jitter}")
        self.patch, self.jitter, self.colours = patch, jitter, colours
        self.head = LateFusion(encoder.num_features, 2, width, hidden, NEIGHBOURS)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over 8·B·N·T pairs of patches."""
        patches = self.patches(clips.video.flatten(0, 2), clips.std)
        parts = self.head.part(encode_patches(self.encoder, patches))  # [M, 9, width]
        neighbours = torch.cat([parts[:, :CENTRE], parts[:, CENTRE + 1 :]], 1)  # [M, 8, width]
        middle = parts[:, CENTRE, None].expand_as(neighbours)
        scores = self.head(torch.stack([middle, neighbours], 2)).flatten(0, 1)  # [M 8, 8]
        return classification(scores, torch.arange(NEIGHBOURS, device=scores.device).repeat(len(parts)), clips)

    def patches(self, pictures: Tensor, std: Tensor | None = None) -> Tensor:
        """Cut the 3 x 3 grid out of ``[M, 3, H, W]`` as the encoder sees it, ``[M, 9, 3, h, w]``, row by row.

        ``std`` ``[3]``, by which pixels were normalised, is needed where colours are projected.
        """
        cut = cut_tiles(pictures, GRID, self.patch, self.jitter)
        if self.colours == "dropping":
            return drop_colours(cut.flatten(0, 1)).view_as(cut)
        if self.colours == "projection":
            assert std is not None
            scale = std.view(3, 1, 1)  # colours are projected in the scale of RGB
            return project_colours(cut * scale) / scale
        return cut

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the nine patches as the encoder sees them."""
        return {"patches": draw_patches(self.patches(clips.video.flatten(0, 2), clips.std), clips)}
