"""Auto-encoding transformations (AET).

L. Zhang, G.-J. Qi, L. Wang, J. Luo: AET vs. AED: Unsupervised Representation Learning by Auto-Encoding Transformations
rather than Data. CVPR 2019. https://arxiv.org/abs/1901.04596
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.heads import fully_connected, projection
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.pixels import denormalise

Family = Literal["affine", "projective"]
Padding = Literal["reflection", "zeros"]
CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


class AET(Method):
    """By which transformation was this picture warped?

    A frame and its warped version pass through one network; from both, the matrix of the transformation is regressed,
    by half the squared distance between the entries of the true and the predicted one (section 3.3, equation 3).
    Families (section 4.1): ``"projective"``, scaled by 0.8 to 1.2, turned by a multiple of 90 degrees, and each corner
    moved by up to 1/8 of the sides, 8 parameters; ``"affine"``, turned by any angle, moved by up to 1/5 of the sides,
    scaled by 0.7 to 1.3 and sheared by up to 30 degrees, 6 parameters.

    Matrices map places in the warped picture to places in the original, from -1 to 1 along each side, so that their
    entries are of about one size; the authors standardise the entries of matrices in pixels instead.

    Metric: ``identified``, how often a prediction is nearer to its own transformation than to that of another picture
    of the batch; chance 1/2.

    Where the warped picture reaches beyond the original the authors fill it with grey, whose outline gives the whole
    transformation away; here the picture is continued by reflection (``padding``).

    Args:
        encoder: frame encoder.
        sampler: draws the frames.
        family: of transformations.
        hidden: width of the layer over the maps of one picture, and of the one over both (the paper's AlexNet: 4096).
        grid: height and width to which the maps are pooled before it.
        padding: what is beyond the border: ``"reflection"``, or ``"zeros"``, the authors' grey.
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
        super().__init__()
        self.encoder, self.family, self.padding = encoder, family, padding
        self.sampler = sampler or RandomClips(num_frames=1)
        self.picture = fully_connected(encoder.num_features, hidden, grid)
        self.decoder = projection(2 * hidden, hidden, 6 if family == "affine" else 8)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metric over B·N·T pictures."""
        pictures = clips.video.flatten(0, 2)  # [M, 3, H, W]
        matrices = self.drawn(pictures)
        target = self.parameters_of(matrices)
        predicted = self._decoded(pictures, warped(pictures, matrices, self.padding))
        with torch.no_grad():
            identified = identification_accuracy(squared_distances(predicted, target)).view(len(clips), -1).mean(1)
        return {
            "loss": parameter_error(predicted, target).mean(),
            "identified": identified,
            "chance/identified": torch.full_like(identified, 0.5),
        }

    def drawn(self, pictures: Tensor) -> Tensor:
        """A transformation for each of ``[M, 3, H, W]``: ``[M, 3, 3]``."""
        draw = affine if self.family == "affine" else projective
        return draw(len(pictures), pictures.device)

    def parameters_of(self, matrices: Tensor) -> Tensor:
        """``[M, 3, 3]`` to its 6 or 8 free entries, row by row."""
        return matrices.flatten(1)[:, : 6 if self.family == "affine" else 8]

    def _decoded(self, pictures: Tensor, changed: Tensor) -> Tensor:
        """``[M, 3, H, W]`` twice to parameters ``[M, 6 or 8]`` float32."""
        maps = self.encoder.maps(torch.cat([pictures, changed])[:, None]).squeeze(2)  # [2 M, D, h, w]
        return self.decoder(torch.cat(self.picture(maps).chunk(2), 1)).float()

    def describe(self, clips: Clips) -> list[list[str]]:
        """Transformations are drawn when the question is posed."""
        return [[f"{self.family} transformation"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The first frame of each clip warped, and warped by what the method takes the transformation to be."""
        first = clips.video[:, :, 0].flatten(0, 1)  # [B N, 3, H, W]
        matrices = self.drawn(first)
        changed = warped(first, matrices, self.padding)
        predicted = self._decoded(first, changed)
        last = predicted.new_tensor([0.0, 0.0, 1.0][-(9 - predicted.shape[1]) :]).expand(len(first), -1)
        guess = torch.cat([predicted, last], 1).unflatten(1, (3, 3))
        drawn = {"target": changed, "prediction": warped(first, guess, self.padding)}
        return {name: denormalise(part).unflatten(0, clips.video.shape[:2])[:, :, None] for name, part in drawn.items()}


def parameter_error(predicted: Tensor, target: Tensor) -> Tensor:
    """``[M, P]`` parameters to ``[M]``: half the squared distance (equation 3)."""
    return 0.5 * (predicted - target).square().sum(1)


def warped(pictures: Tensor, matrices: Tensor, padding: Padding = "reflection") -> Tensor:
    """Each picture seen through a transformation of its own.

    Args:
        pictures: ``[M, C, H, W]``.
        matrices: ``[M, 3, 3]``, a place (x, y, 1) in the result, from -1 to 1 along the sides, to one in the picture.
        padding: what is beyond the border.

    Returns:
        ``[M, C, H, W]``, sampled bilinearly.
    """
    height, width = pictures.shape[-2:]
    identity = torch.eye(2, 3, device=pictures.device).expand(len(pictures), -1, -1)
    with torch.autocast(pictures.device.type, enabled=False):
        places = F.affine_grid(identity, [len(pictures), 1, height, width], align_corners=False)  # [M, H, W, 2]
        x, y, depth = torch.einsum("mij,mhwj->imhw", matrices.float(), F.pad(places, (0, 1), value=1.0))
    grid = torch.stack([x, y], 3) / depth.clamp(min=1e-3)[..., None]
    return F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode=padding, align_corners=False)


def affine(count: int, device: torch.device) -> Tensor:
    """``[count, 3, 3]`` random affine transformations (section 4.1.1)."""
    turn, shear, scale, *shift = _uniform(5, count, device)
    turn, shear, scale = math.pi * turn, (shear * math.pi / 6).tan(), 1 + 0.3 * scale
    made = torch.eye(3, device=device).repeat(count, 1, 1)
    made[:, 0, 0], made[:, 0, 1] = turn.cos(), turn.cos() * shear - turn.sin()
    made[:, 1, 0], made[:, 1, 1] = turn.sin(), turn.sin() * shear + turn.cos()
    made[:, :2, :2] *= scale[:, None, None]
    made[:, :2, 2] = 0.4 * torch.stack(shift, 1)  # 1/5 of a side that is 2 long
    return made


def projective(count: int, device: torch.device) -> Tensor:
    """``[count, 3, 3]`` random projective transformations (section 4.1.1)."""
    scale = 1 + 0.2 * _uniform(1, count, device)[0]
    turn = torch.randint(4, (count,), device=device) * (math.pi / 2)
    rotation = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()], 1).view(count, 2, 2)
    corners = torch.tensor(CORNERS, device=device).expand(count, -1, -1)  # [M, 4, 2]
    moved = scale[:, None, None] * (corners @ rotation.mT) + 0.25 * _uniform(8, count, device).T.reshape(count, 4, 2)
    return homographies(corners, moved)


def homographies(places: Tensor, others: Tensor) -> Tensor:
    """The projective transformations that take four places to four others.

    Args:
        places: ``[M, 4, 2]`` (x, y), no three on a line.
        others: ``[M, 4, 2]``.

    Returns:
        ``[M, 3, 3]``, its last entry 1.
    """
    one, nought = torch.ones_like(places[..., :1]), torch.zeros_like(places)
    whole = torch.cat([places, one], 2)  # [M, 4, 3]
    none = torch.cat([nought, torch.zeros_like(one)], 2)
    x, y = (-others[..., axis : axis + 1] * places for axis in (0, 1))
    system = torch.cat([torch.cat([whole, none, x], 2), torch.cat([none, whole, y], 2)], 1)  # [M, 8, 8]
    entries = torch.linalg.solve(system, torch.cat([others[..., 0], others[..., 1]], 1))  # [M, 8]
    return F.pad(entries, (0, 1), value=1.0).unflatten(1, (3, 3))


def _uniform(rows: int, count: int, device: torch.device) -> Tensor:
    """``[rows, count]`` even in [-1, 1)."""
    return 2 * torch.rand(rows, count, device=device) - 1
