"""Auto-encoding transformations (AET).

L. Zhang, G.-J. Qi, L. Wang, J. Luo: AET vs. AED: Unsupervised Representation Learning by Auto-Encoding Transformations
rather than Data. CVPR 2019. https://arxiv.org/abs/1901.04596
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.heads import fully_connected, projection
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.pixels import constants

Family = Literal["affine", "projective"]
Padding = Literal["reflection", "zeros"]
CORNERS = (-1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0)  # x, y of each


class AET(Method):
    """Regress the transformation that warped a picture.

    A frame and its warped version pass through one network; the matrix of the transformation is regressed from both,
    by half the squared distance between true and predicted entries (section 3.3, equation 3). Families (section 4.1):
    ``"projective"``, scaled by 0.8 to 1.2, rotated by a multiple of 90 degrees, and each corner moved by up to 1/8 of
    the sides, 8 parameters; ``"affine"``, rotated by any angle, translated by up to 1/5 of the sides, scaled by 0.7 to
    1.3 and sheared by up to 30 degrees, 6 parameters. Matrices map points of the warped picture to points of the
    original, from -1 to 1 along each side, so that their entries are of similar size.

    Metric: ``identified``, how often a prediction is nearer to its own transformation than to that of another picture
    of the batch; chance 1/2.

    Args:
        family: family of transformations.
        hidden: size of the layers over the maps of one picture and over both pictures (the paper's AlexNet: 4096).
        grid: height and width to which the maps are pooled.
        padding: what lies beyond the border: ``"reflection"``, or ``"zeros"``, the authors' grey, whose outline gives
            the whole transformation away.
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        family: Family = "projective",
        hidden: int = 4096,
        grid: int = 3,
        padding: Padding = "reflection",
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        self.family, self.padding = family, padding
        self.picture = fully_connected(encoder.num_features, hidden, grid)
        self.decoder = projection(2 * hidden, hidden, 6 if family == "affine" else 8)
        self.caption = f"{family} transformation"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N·T pictures."""
        pictures = clips.video.flatten(0, 2)  # [M, 3, H, W]
        matrices = self.draw_matrices(pictures)
        target = self.free_entries(matrices)
        predicted = self._decode(pictures, warp(pictures, matrices, self.padding))
        with torch.no_grad():
            identified = identification_accuracy(squared_distances(predicted, target))
        return measured(clips, parameter_error(predicted, target).mean(), identified=(identified, 0.5))

    def draw_matrices(self, pictures: Tensor) -> Tensor:
        """Draw a transformation ``[M, 3, 3]`` for each of ``[M, 3, H, W]``."""
        draw = random_affine if self.family == "affine" else random_projective
        return draw(len(pictures), pictures.device)

    def free_entries(self, matrices: Tensor) -> Tensor:
        """Return the 6 or 8 free entries of ``[M, 3, 3]`` matrices, row by row."""
        return matrices.flatten(1)[:, : 6 if self.family == "affine" else 8]

    def _decode(self, pictures: Tensor, changed: Tensor) -> Tensor:
        """Predict parameters ``[M, 6 or 8]``, float32, from ``[M, 3, H, W]`` pictures and their warped versions."""
        maps = self.encoder.maps(torch.cat([pictures, changed])[:, None]).squeeze(2)  # [2 M, D, h, w]
        return self.decoder(torch.cat(self.picture(maps).chunk(2), 1)).float()

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip under the true and the predicted transformation."""
        first = clips.video[:, :, 0].flatten(0, 1)  # [B N, 3, H, W]
        changed = warp(first, self.draw_matrices(first), self.padding)
        predicted = self._decode(first, changed)
        last = constants([0.0, 0.0, 1.0][-(9 - predicted.shape[1]) :], predicted).expand(len(first), -1)
        guess = torch.cat([predicted, last], 1).unflatten(1, (3, 3))
        warps = {"target": changed, "prediction": warp(first, guess, self.padding)}
        shape = clips.video.shape[:2]
        return {name: clips.denormalise(part).unflatten(0, shape)[:, :, None] for name, part in warps.items()}


def parameter_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return half the squared distance (equation 3) between ``[M, P]`` parameters, ``[M]``."""
    return 0.5 * (predicted - target).square().sum(1)


def warp(pictures: Tensor, matrices: Tensor, padding: Padding = "reflection") -> Tensor:
    """Warp each of ``[M, C, H, W]`` by its own transformation, with bilinear sampling.

    Matrices ``[M, 3, 3]`` map points (x, y, 1) of the result, -1 to 1 along the sides, to points of the picture.
    """
    height, width = pictures.shape[-2:]
    identity = torch.eye(2, 3, device=pictures.device).expand(len(pictures), -1, -1)
    with torch.autocast(pictures.device.type, enabled=False):
        places = F.affine_grid(identity, [len(pictures), 1, height, width], align_corners=False)  # [M, H, W, 2]
        x, y, depth = torch.einsum("mij,mhwj->imhw", matrices.float(), F.pad(places, (0, 1), value=1.0))
    grid = torch.stack([x, y], 3) / depth.clamp(min=1e-3)[..., None]
    return F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode=padding, align_corners=False)


def random_affine(count: int, device: torch.device) -> Tensor:
    """Draw affine transformations ``[count, 3, 3]`` (section 4.1.1)."""
    turn, shear, scale, *shift = _uniform(5, count, device)
    turn, shear, scale = math.pi * turn, (shear * math.pi / 6).tan(), 1 + 0.3 * scale
    made = torch.eye(3, device=device).repeat(count, 1, 1)
    made[:, 0, 0], made[:, 0, 1] = turn.cos(), turn.cos() * shear - turn.sin()
    made[:, 1, 0], made[:, 1, 1] = turn.sin(), turn.sin() * shear + turn.cos()
    made[:, :2, :2] *= scale[:, None, None]
    made[:, :2, 2] = 0.4 * torch.stack(shift, 1)  # 1/5 of a side that is 2 long
    return made


def random_projective(count: int, device: torch.device) -> Tensor:
    """Draw projective transformations ``[count, 3, 3]`` (section 4.1.1)."""
    scale = 1 + 0.2 * _uniform(1, count, device)[0]
    turn = torch.randint(4, (count,), device=device) * (math.pi / 2)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], 1).view(count, 2, 2)
    corners = constants(CORNERS, scale).view(4, 2).expand(count, -1, -1)  # [M, 4, 2]
    jitter = 0.25 * rearrange(_uniform(8, count, device), "(corner xy) m -> m corner xy", xy=2)
    return homographies(corners, scale[:, None, None] * (corners @ rotation.mT) + jitter)


def homographies(places: Tensor, others: Tensor) -> Tensor:
    """Return the projective transformations ``[M, 3, 3]``, last entry 1, that map four points (x, y) to four others.

    Both are ``[M, 4, 2]``, no three of them on a line.
    """
    one, nought = torch.ones_like(places[..., :1]), torch.zeros_like(places)
    whole = torch.cat([places, one], 2)  # [M, 4, 3]
    none = torch.cat([nought, torch.zeros_like(one)], 2)
    x, y = (-others[..., axis : axis + 1] * places for axis in (0, 1))
    system = torch.cat([torch.cat([whole, none, x], 2), torch.cat([none, whole, y], 2)], 1)  # [M, 8, 8]
    entries = torch.linalg.solve(system, torch.cat([others[..., 0], others[..., 1]], 1))  # [M, 8]
    return F.pad(entries, (0, 1), value=1.0).unflatten(1, (3, 3))


def _uniform(rows: int, count: int, device: torch.device) -> Tensor:
    """Draw ``[rows, count]`` uniformly from [-1, 1)."""
    return 2 * torch.rand(rows, count, device=device) - 1
