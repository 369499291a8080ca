"""Self-supervised image embedding (Selfie).

T. H. Trinh, M.-T. Luong, Q. V. Le: Selfie: Self-supervised Pretraining for Image Embedding. 2019.
https://arxiv.org/abs/1906.02940
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.encoders.vit import Blocks
from avssl.methods.base import Method, per_video_mean
from avssl.methods.frame.patches import drawn, frames, mosaic, tiles, vectors
from avssl.methods.losses import inner_products


class Selfie(Method):
    """Which of these patches is behind the mask here?

    A frame is cut into a grid of patches, some of which are masked. A transformer pools the vectors of the others,
    each with a code of its place, into one vector u, that of an additional token (attention pooling, section 3.2). For
    each masked place, u and the code of the place are added and give the query v; its inner product with the vector
    of the patch that belongs there must be the largest among the masked patches of the frame (section 3.1). The target
    is where a patch was cut, not a matter of time: no timestamps.

    Metric: ``accuracy`` among the masked patches of the frame; chance is 1 over their number.

    In the paper, patches pass through the first three stages of a ResNet-50, and the fourth is trained afterwards;
    here they pass through the whole encoder. A code is the sum of one for the row and one for the column, as in the
    paper for large images. The sum of u and a code passes through a hidden layer: of the plain sum, the score of a
    patch would be one number for u and the patch plus one for the place and the patch, and what is seen could not say
    which of two patches belongs where. The paper's patches touch; ``patch`` below 1 leaves a gap and jitters them, so
    that a line that goes on doesn't solve the task.

    Args:
        encoder: frame encoder; sees patches one by one.
        sampler: draws the frames.
        grid: patches in a row and in a column (the paper: 4 for 32 pixels, 7 for 224).
        masked: share of the patches that are masked; two at least are.
        patch: side of a patch as a share of its cell's; it lies anywhere in the cell.
        width: of the vectors that are pooled and compared.
        depth: blocks of the transformer (the paper: 3).

    Raises:
        ValueError: where no patch would be left to look at.
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
        super().__init__()
        self.hidden = max(2, round(masked * grid**2))
        if self.hidden >= grid**2:
            raise ValueError(f"Selfie: masked={masked} leaves none of {grid**2} patches to look at")
        self.encoder, self.grid, self.patch = encoder, grid, patch
        self.sampler = sampler or RandomClips(clips=4, num_frames=1)
        self.project = nn.Linear(encoder.num_features, width)
        self.token = nn.Parameter(0.02 * torch.randn(width))
        self.rows, self.columns = (nn.Parameter(torch.randn(grid, width)) for _ in range(2))
        self.pool = Blocks(width, depth)
        self.query = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over the masked patches of B·N·T frames."""
        masked, scores = self._answers(tiles(frames(clips), self.grid, self.patch, 1 - self.patch))
        target = torch.arange(self.hidden, device=scores.device).expand(masked.shape)
        return {
            "loss": F.cross_entropy(scores.flatten(0, 1), target.flatten()),
            "accuracy": per_video_mean((scores.argmax(2) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / self.hidden, device=scores.device),
        }

    def _answers(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patches ``[M, L, 3, h, w]`` to masked places ``[M, H]``, drawn, and ``[M, H, H]`` (place, patch) scores."""
        encoded = self.project(vectors(self.encoder, patches))  # [M, L, width]
        codes = (self.rows[:, None] + self.columns).flatten(0, 1)  # [L, width]
        order = torch.rand(encoded.shape[:2], device=encoded.device).argsort(1)
        masked, seen = order[:, : self.hidden], order[:, self.hidden :]
        frame = torch.arange(len(encoded), device=encoded.device)[:, None]
        tokens = encoded[frame, seen] + codes[seen]  # [M, L - H, width]
        pooled = self.pool(torch.cat([self.token.expand(len(tokens), 1, -1), tokens], 1))[:, :1]  # u, [M, 1, width]
        return masked, inner_products(self.query(pooled + codes[masked]), encoded[frame, masked])

    def describe(self, clips: Clips) -> list[list[str]]:
        """How many are masked."""
        return [[f"{self.hidden} of {self.grid**2} patches masked"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What is seen, and the frame with the patches that the network chooses for the masked places."""
        patches = tiles(frames(clips), self.grid, self.patch, 1 - self.patch)
        masked, scores = self._answers(patches)
        frame = torch.arange(len(patches), device=patches.device)[:, None]
        seen, filled = patches.clone(), patches.clone()
        seen[frame, masked] = 0
        filled[frame, masked] = patches[frame, masked.gather(1, scores.argmax(2))]
        return {"seen": drawn(mosaic(seen), clips), "filled": drawn(mosaic(filled), clips)}
