"""Contrastive predictive coding of images (CPC and CPC v2).

A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive Coding. 2018, section 3.2.
https://arxiv.org/abs/1807.03748

O. J. Henaff et al.: Data-Efficient Image Recognition with Contrastive Predictive Coding. ICML 2020.
https://arxiv.org/abs/1905.09272
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.disguise import random_crops, replicate_channel
from avssl.methods.frame.patches import drawn, frames, vectors, windows
from avssl.methods.losses import dense_nce, mean_outputs

SCALE = 0.1  # of predictions


class ImageCPC(Method):
    """Which of these patches lies so many rows below?

    A frame is cut into a grid of overlapping patches, each encoded by itself to a vector z. A masked convolutional
    network makes a context c of each place from the rows down to it (CPC, figure 4); for each distance k a matrix of
    its own maps c to the z that lies k rows below, which must score highest among other patches of this and of the
    other pictures (InfoNCE, see `dense_nce`). Rows that overlap the context's own are not asked for, since they show
    some of the same pixels. The target is where a patch was cut, not a matter of time: no timestamps.

    The defaults are CPC; CPC v2 (section 2.1) is ``ResNet(norm="layer")``, ``grid=6, overlap=2.5`` (patches of 80 of
    240 pixels instead of 64 of 256), ``predict=3``, all four ``directions``, and ``augment``.

    Candidates are the patches of all rows that are asked for, in all pictures of the batch: none of them overlaps
    what the context has seen, for such a one would be known to be wrong.

    Metrics: ``accuracy`` and ``top5`` among all candidates; ``located`` among those of the same picture, for which
    it is no help to know the picture. Means over all contexts; chance is 1 (5) over the number of candidates.

    CPC v2 scores vectors of 64 dimensions; here, as in CPC, the encoder's own. Of its augmentations of a patch, crops,
    mirroring and dropped colours are made; those of AutoAugment, elastic deformation and shearing are left out.
    Predictions are multiplied by 0.1, as in the appendix of CPC v2, so that scores begin small.

    Args:
        encoder: frame encoder; sees patches one by one.
        sampler: draws the frames.
        grid: patches in a row and in a column.
        overlap: side of a patch, in steps from one patch to the next.
        predict: number of distances k, from the first that doesn't overlap on (CPC: 5 rows, the farthest 6 below).
        directions: 1 for downwards; 4 for to the left, upwards and to the right as well, each with a context network
            and matrices of its own.
        crop: side of what is seen of a patch, at a random place, as a share of the patch's (CPC: 60 of 64 pixels).
        augment: mirror half of the patches, and show four fifths of them in one channel, drawn for each patch.
        width: of the context network's layers (CPC v2: 256).
        depth: residual blocks of the context network (CPC v2: 5).

    Raises:
        ValueError: for rows beyond the grid, or a number of directions between 1 and 4.
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
        super().__init__()
        self.first = math.ceil(overlap)
        if not 0 < predict <= grid - self.first:
            raise ValueError(
                f"ImageCPC: of {grid} rows, the first {self.first} overlap or are the context: predict must be "
                f"1 to {grid - self.first}, got {predict}"
            )
        if directions not in (1, 4):
            raise ValueError(f"ImageCPC: directions must be 1 or 4, got {directions}")
        self.encoder, self.grid, self.overlap, self.predict = encoder, grid, overlap, predict
        self.crop, self.augment = crop, augment
        self.sampler = sampler or RandomClips(clips=1, num_frames=1)
        features = encoder.num_features
        self.contexts = nn.ModuleList(Above(features, width, depth) for _ in range(directions))
        self.ahead = nn.ModuleList(nn.Linear(features, predict * features, bias=False) for _ in range(directions))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over all contexts and directions of B·N·T frames."""
        encoded = vectors(self.encoder, self.patches(frames(clips)))  # [M, grid, grid, D]
        outputs = []
        for turns, (network, ahead) in enumerate(zip(self.contexts, self.ahead, strict=True)):
            rows = encoded.rot90(turns, (1, 2))  # what was to the left, above, to the right lies below now
            context = network(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # [M, grid, grid, D]
            predicted = (
                (SCALE * ahead(context)).unflatten(3, (self.predict, -1)).transpose(2, 3)
            )  # [M, grid, K, grid, D]
            for row in range(self.grid - self.first):
                asked = rows[:, row + self.first :][:, : self.predict]  # [M, K or fewer, grid, D]
                said = predicted[:, row, : asked.shape[1]]
                outputs.append(dense_nce(*(part.flatten(1, 2)[:, :, None] for part in (said, asked))))
        out = mean_outputs(outputs)
        names = {"accuracy": "accuracy", "top5": "top5", "temporal": "located"}  # K grid places in place of K steps
        found = {"loss": out["loss"]}
        for name, ours in names.items():
            found[ours], found[f"chance/{ours}"] = (per_video_mean(out[key], clips) for key in (name, f"chance/{name}"))
        return found

    def patches(self, pictures: Tensor) -> Tensor:
        """``[M, 3, H, W]`` to what the encoder sees of the grid, ``[M, grid, grid, 3, h, w]``."""
        step = [int(side / (self.grid - 1 + self.overlap)) for side in pictures.shape[-2:]]
        size = [int(self.overlap * apart) for apart in step]
        cut = windows(pictures, self.grid, size, step)
        flat = random_crops(cut.flatten(0, 2), *(round(self.crop * side) for side in size))
        if self.augment:
            mirrored, grey = torch.rand(2, len(flat), 1, 1, 1, device=flat.device)
            flat = torch.where(mirrored < 0.5, flat.flip(-1), flat)
            flat = torch.where(grey < 0.8, replicate_channel(flat), flat)
        return flat.unflatten(0, cut.shape[:3])

    def describe(self, clips: Clips) -> list[list[str]]:
        """How far is predicted."""
        last = self.first + self.predict - 1
        line = f"patches {self.first} to {last} rows away, in {len(self.contexts)} of 4 directions"
        return [[line] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The middle row of patches as the encoder sees them."""
        return {"patches": drawn(self.patches(frames(clips))[:, self.grid // 2], clips)}


class Above(nn.Module):
    """A context of each place from the rows down to it: residual blocks of masked convolutions (CPC v2, appendix).

    Args:
        features: D, channels of what comes in and goes out.
        width: channels in between.
        depth: blocks; each looks one row further up, and one place further to both sides.
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
        """``[M, D, rows, columns]`` to the same."""
        for block in self.blocks:
            rows = rows + block(rows)
        return rows.relu()
