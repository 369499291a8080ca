"""Contrastive predictive coding of images (CPC and CPC v2).

A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive Coding. 2018, section 3.2.
https://arxiv.org/abs/1807.03748

O. J. Henaff et al.: Data-Efficient Image Recognition with Contrastive Predictive Coding. ICML 2020.
https://arxiv.org/abs/1905.09272
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.disguise import random_crops, replicate_channel
from avssl.methods.frame.patches import cut_windows, draw_patches, encode_patches
from avssl.methods.losses import dense_nce, mean_outputs

SCALE = 0.1  # factor of predictions, so that initial scores are small (CPC v2, appendix)


class ImageCPC(Method):
    """Predict the patches some rows below a context, among other patches.

    A frame is cut into a grid of overlapping patches, each encoded separately to a vector z. A masked convolutional
    network computes a context c at each place from the rows down to it (CPC, figure 4); for each distance k a separate
    matrix maps c to the z that lies k rows below, which must score highest among other patches of this and of the other
    pictures (InfoNCE, see `dense_nce`). Rows that overlap the context's own are skipped, as they share pixels with it.
    The target is where a patch was cut; timestamps play no part.

    The defaults are CPC; CPC v2 (section 2.1) is ``ResNet(norm="layer")``, ``grid=6, overlap=2.5`` (patches of 80 of
    240 pixels instead of 64 of 256), ``predict=3``, all four ``directions``, and ``augment``.

    Metrics: ``accuracy`` and ``top5`` among the patches of all predicted rows, in all pictures of the batch;
    ``located`` among those of the same picture, where recognising the picture doesn't help. Means over all contexts;
    chance is 1 (5) over the number of candidates.

    Args:
        encoder: frame encoder, applied to each patch.
        grid: patches per row and per column.
        overlap: side of a patch, in steps from one patch to the next.
        predict: number of distances k, from the first without overlap on (CPC: 5 rows, the farthest 6 below).
        directions: 1 for downwards; 4 for left, upwards and right too, each with its own context network and matrices.
        crop: side of a random crop of each patch, as a fraction of the patch's (CPC: 60 of 64 pixels).
        augment: flip half of the patches, and replicate one channel, drawn per patch, in four fifths of them.
        width: width of the context network (CPC v2: 256).
        depth: residual blocks of the context network (CPC v2: 5).
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        grid: int = 7,
        overlap: float = 2.0,
        predict: int = 5,
        directions: int = 1,
        crop: float = 60 / 64,
        augment: bool = False,
        width: int = 256,
        depth: int = 5,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=1, num_frames=1))
        self.first = math.ceil(overlap)
        most = grid - self.first  # the rows that don't overlap the context's
        if not 0 < predict <= most:
            raise ValueError(f"ImageCPC: with {grid=} and {overlap=}, predict must be 1 to {most}, got {predict}")
        if directions not in (1, 4):
            raise ValueError(f"ImageCPC: directions must be 1 or 4, got {directions}")
        self.grid, self.overlap, self.predict = grid, overlap, predict
        self.crop, self.augment = crop, augment
        features = encoder.num_features
        self.contexts = nn.ModuleList(RowContext(features, width, depth) for _ in range(directions))
        self.ahead = nn.ModuleList(nn.Linear(features, predict * features, bias=False) for _ in range(directions))
        self.caption = f"patches {self.first} to {self.first + predict - 1} rows away, in {directions} of 4 directions"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over all contexts and directions of B·N·T frames."""
        encoded = encode_patches(self.encoder, self.patches(clips.video.flatten(0, 2)))  # [M, grid, grid, D]
        outputs = []
        for turns, (network, ahead) in enumerate(zip(self.contexts, self.ahead, strict=True)):
            rows = encoded.rot90(turns, (1, 2))  # what was to the left, above, to the right is now below
            context = rearrange(network(rearrange(rows, "m i j d -> m d i j")), "m d i j -> m i j d")
            predicted = rearrange(SCALE * ahead(context), "m i j (k d) -> m i k j d", k=self.predict)
            for row in range(self.grid - self.first):
                target = rows[:, row + self.first :][:, : self.predict]  # [M, K or fewer, grid, D]
                pair = predicted[:, row, : target.shape[1]], target
                outputs.append(dense_nce(*(rearrange(part, "m k j d -> m (k j) 1 d") for part in pair)))
        out = mean_outputs(outputs, clips)  # K places of the grid in the role of K steps
        return {name.replace("temporal", "located"): value for name, value in out.items()}

    def patches(self, pictures: Tensor) -> Tensor:
        """Cut the grid out of ``[M, 3, H, W]`` as the encoder sees it, ``[M, grid, grid, 3, h, w]``."""
        step = [int(side / (self.grid - 1 + self.overlap)) for side in pictures.shape[-2:]]
        size = [int(self.overlap * apart) for apart in step]
        cut = cut_windows(pictures, self.grid, size, step)
        flat = random_crops(cut.flatten(0, 2), *(round(self.crop * side) for side in size))
        if self.augment:
            mirrored, grey = torch.rand(2, len(flat), 1, 1, 1, device=flat.device)
            flat = torch.where(mirrored < 0.5, flat.flip(-1), flat)
            flat = torch.where(grey < 0.8, replicate_channel(flat), flat)
        return flat.unflatten(0, cut.shape[:3])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the middle row of patches as the encoder sees them."""
        return {"patches": draw_patches(self.patches(clips.video.flatten(0, 2))[:, self.grid // 2], clips)}


class RowContext(nn.Module):
    """Context of each place from the rows down to it: residual blocks of masked convolutions (CPC v2, appendix).

    Each of ``depth`` blocks extends the view by one row upwards and one column to either side.
    """

    def __init__(self, features: int, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, width, 1),
                nn.ReLU(),
                nn.Conv2d(width, width, (1, 3), padding=(0, 1)),
                nn.ZeroPad2d((0, 0, 1, 0)),
                nn.Conv2d(width, width, (2, 1)),
                nn.ReLU(),
                nn.Conv2d(width, features, 1),
            )
            for _ in range(depth)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Add the context to ``[M, D, rows, columns]``."""
        for block in self.blocks:
            rows = rows + block(rows)
        return rows.relu()
