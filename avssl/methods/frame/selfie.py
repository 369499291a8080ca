"""Self-supervised image embedding (Selfie).

T. H. Trinh, M.-T. Luong, Q. V. Le: Selfie: Self-supervised Pretraining for Image Embedding. 2019.
https://arxiv.org/abs/1906.02940
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.encoders.vit import Blocks
from avssl.methods.base import Method
from avssl.methods.frame.patches import cut_tiles, draw_patches, encode_patches, mosaic
from avssl.methods.losses import classification, inner_products


class Selfie(Method):
    """Find the patch that belongs at a masked place, among all masked patches of the frame.

    A frame is cut into a grid of patches, some of which are masked. A transformer pools the vectors of the others, each
    with a code of its place, into one vector u, that of an additional token (attention pooling, section 3.2). For each
    masked place, u plus the code of the place gives the query v; among the masked patches of the frame, the one that
    belongs there must have the largest inner product with v (section 3.1). A code is the sum of one for the row and one
    for the column, as in the paper for large images; unlike there, u plus a code passes through a hidden layer. The
    target is where a patch was cut; timestamps play no part.

    Metric: ``accuracy`` among the masked patches of the frame; chance is 1 over their number.

    Args:
        encoder: frame encoder, applied to each patch.
        grid: patches per row and per column (paper: 4 for 32 pixels, 7 for 224).
        masked: fraction of the patches that are masked, at least two.
        patch: side of a patch as a fraction of its cell's; below 1 it lies anywhere in the cell (the paper's touch).
        width: size of the vectors that are pooled and compared.
        depth: transformer blocks (paper: 3).
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        grid: int = 7,
        masked: float = 0.25,
        patch: float = 1.0,
        width: int = 1024,
        depth: int = 3,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
        self.hidden = max(2, round(masked * grid**2))
        if self.hidden >= grid**2:
            raise ValueError(f"Selfie: masked={masked} leaves none of {grid**2} patches visible: lower it")
        self.grid, self.patch = grid, patch
        self.project = nn.Linear(encoder.num_features, width)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.rows, self.columns = (nn.Parameter(torch.randn(grid, width)) for _ in range(2))
        self.pool = Blocks(width, depth)
        self.query = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.caption = f"{self.hidden} of {grid**2} patches masked"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over the masked patches of B·N·T frames."""
        masked, scores = self._predict(cut_tiles(clips.video.flatten(0, 2), self.grid, self.patch, 1 - self.patch))
        target = torch.arange(self.hidden, device=scores.device).expand(masked.shape)
        return classification(scores.flatten(0, 1), target.flatten(), clips)

    def _predict(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mask some of ``[M, L, 3, h, w]``; return places ``[M, H]`` and (place, patch) scores ``[M, H, H]``."""
        encoded = self.project(encode_patches(self.encoder, patches))  # [M, L, width]
        codes = (self.rows[:, None] + self.columns).flatten(0, 1)  # [L, width]
        order = torch.rand(encoded.shape[:2], device=encoded.device).argsort(1)
        masked, seen = order[:, : self.hidden], order[:, self.hidden :]
        frame = torch.arange(len(encoded), device=encoded.device)[:, None]
        tokens = encoded[frame, seen] + codes[seen]  # [M, L - H, width]
        pooled = self.pool(torch.cat([self.token.expand(len(tokens), 1, -1), tokens], 1))[:, :1]  # u, [M, 1, width]
        return masked, inner_products(self.query(pooled + codes[masked]), encoded[frame, masked])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the visible patches, and the frame with the predicted patches at the masked places."""
        patches = cut_tiles(clips.video.flatten(0, 2), self.grid, self.patch, 1 - self.patch)
        masked, scores = self._predict(patches)
        frame = torch.arange(len(patches), device=patches.device)[:, None]
        seen, filled = patches.clone(), patches.clone()
        seen[frame, masked] = 0
        filled[frame, masked] = patches[frame, masked.gather(1, scores.argmax(2))]
        return {"seen": draw_patches(mosaic(seen), clips), "filled": draw_patches(mosaic(filled), clips)}
