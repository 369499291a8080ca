"""Self-supervised adaptation of a face tracker to unlabelled videos.

J. S. Yoon, T. Shiratori, S.-I. Yu, H. S. Park: Self-Supervised Adaptation of High-Fidelity Face Models for Monocular
Performance Tracking. CVPR 2019. https://arxiv.org/abs/1907.10815
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Squash
from avssl.encoders import Encoder
from avssl.labels import FaceCodes
from avssl.labels.faces import CODE
from avssl.methods.base import Method
from avssl.methods.counters import HostNumber
from avssl.methods.dense import chance_level
from avssl.methods.heads import fully_connected
from avssl.pixels import constants
from avssl.synthetic.face_mesh import IDENTITY, face_mesh

USUAL = (*[0.0] * 8, 0.3, *[0.33] * 4, 0.1, 0.0, 0.0, 0.0, 0.235, 0.0, -0.175)  # means of code and pose in the studio
SPREAD = (*[1.0] * 8, 0.32, *[0.24] * 4, 0.25, 0.24, 0.12, 0.1, 0.022, 0.11, 0.09)  # their deviations
GRID = (28, 24)  # rows and columns of the unwrapped texture
LEAST = 0.25  # cosine between the line of sight and the normal, from which a point counts as visible


class FaceDecoder(nn.Module):
    """The linear model of faces (`avssl.synthetic.face_mesh`) as a fixed decoder of codes and poses."""

    mean: Tensor
    moves: Tensor
    corners: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        mesh = face_mesh()
        flat = mesh.mean[:, :2]
        low, high = flat.min(0), flat.max(0)
        y, x = np.meshgrid(*(np.linspace(low[axis], high[axis], GRID[1 - axis]) for axis in (1, 0)), indexing="ij")
        places = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])  # [3, P]
        solid = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)[mesh.triangles]  # [F, 3, 3]
        shares = np.linalg.inv(solid.transpose(0, 2, 1)) @ places  # [F, 3, P], barycentric
        best = shares.min(1).argmax(0)  # [P], the triangle that holds each
        column = np.arange(len(best))
        within = shares[best, :, column].min(1) > -1e-6
        fields = {
            "mean": mesh.mean,
            "moves": np.concatenate([mesh.identity, mesh.expression]),
            "weights": shares[best, :, column][within],
        }
        for name, values in fields.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("corners", torch.tensor(mesh.triangles[best[within]]), persistent=False)  # [P, 3]

    def forward(self, numbers: Tensor) -> Tensor:
        """Return points ``[M, V, 3]``, x and y in -1 to 1, of codes and poses ``[M, 20]``."""
        code, pose = numbers[:, :CODE], numbers[:, CODE:]
        shape = self.mean + torch.einsum("mk,kvc->mvc", code, self.moves)
        points = 2 * pose[:, 3, None, None] * turned(shape, pose)
        return torch.cat([points[..., :2] + pose[:, None, 4:], points[..., 2:]], 2)

    def unwrap(self, frames: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Read the texture of frames ``[M, 3, H, W]`` by the points ``[M, V, 3]`` of their faces.

        Returns:
            Colours ``[M, 3, P]`` at places of the mean face, and ``[M, P]`` float, 1 where they are visible: in the
            frame, and turned to the camera.
        """
        corners = points[:, self.corners]  # [M, P, 3, 3]
        places = (corners[..., :2] * self.weights[..., None]).sum(2)  # [M, P, 2]
        colours = F.grid_sample(frames, places[:, None], padding_mode="border", align_corners=False)[:, :, 0]
        with torch.no_grad():
            normal = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
            ahead = normal[..., 2] / normal.norm(dim=2).clamp(min=1e-6)
            seen = (ahead > LEAST) & (places.abs() < 1).all(2)
        return colours, seen.float()


def turned(shape: Tensor, pose: Tensor) -> Tensor:
    """Turn faces ``[M, V, 3]`` by yaw, pitch and roll, the first of ``[M, 6]`` (`avssl.synthetic.face_mesh`)."""
    x, y, z = shape.unbind(2)
    (yaw, pitch, roll), cos, sin = pose[:, :3, None].unbind(1), torch.cos, torch.sin
    x, z = cos(yaw) * x + sin(yaw) * z, cos(yaw) * z - sin(yaw) * x
    y, z = cos(pitch) * y + sin(pitch) * z, cos(pitch) * z - sin(pitch) * y
    x, y = cos(roll) * x - sin(roll) * y, sin(roll) * x + cos(roll) * y
    return torch.stack([x, y, z], 2)


def details(frames: Tensor) -> Tensor:
    """Return the brightness of frames ``[M, 3, H, W]`` over its local mean, in local deviations: ``[M, 1, H, W]``."""
    grey = frames.mean(1, keepdim=True)
    side = grey.shape[-1] // 12 * 2 + 1
    mean = F.avg_pool2d(grey, side, 1, side // 2, count_include_pad=False)
    over = F.avg_pool2d(grey - mean, 3, 1, 1, count_include_pad=False)
    square = F.avg_pool2d(over.square(), side, 1, side // 2, count_include_pad=False)
    return over / (square + 0.01).sqrt()


class FaceAdaptation(Method):
    """Adapt a network that tells a face's code and pose to videos without labels, by the texture that they imply.

    Frames from the studio have labels: the network learns their code and pose, by the distance between true and
    predicted points in eye distances, and by the numbers themselves. Frames from elsewhere have none: the geometry that
    the network predicts unwraps each frame to a texture, which must not change from one frame of a clip to the next
    where both see the face; and codes and poses stay near those of the studio (a Gaussian prior). Identity is the mean
    over the frames of a clip. Adaptation begins when the network can tell the studio's faces.

    Metric: ``closeness``, 1 / (1 + error of the points relative to that of the mean face in the mean pose), on frames
    with labels. Chance is the better of that face, 0.5, and the face of another video. A video without labels counts as
    the mean of the others. ``benchmarks/systems.py`` measures the error in the other domain.

    Args:
        hidden: width of the head.
        grid: height and width to which the maps are pooled for the head.
        consistency: weight of the texture's change.
        scales: sides in pixels of the squares over which frames are averaged before they are unwrapped; the change is
            the mean over them. Coarse ones pull geometry that is far off.
        likeness: weight of a loss that the paper has not: one minus the correlation of the texture's details with their
            mean over the studio's frames (`details`).
        prior: weight of the prior.
        adapt_from: share of the run after which videos without labels count.
    """

    labeller: FaceCodes
    template: Tensor

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        labeller: FaceCodes | None = None,
        hidden: int = 256,
        grid: int = 3,
        consistency: float = 2.0,
        scales: tuple[int, ...] = (2, 4),
        likeness: float = 0.0,
        prior: float = 0.02,
        adapt_from: float = 0.4,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=4, step=0.2))
        self.labeller = labeller or FaceCodes()
        self.consistency, self.scales, self.likeness, self.prior = consistency, scales, likeness, prior
        self.adapt_from = adapt_from
        self.decoder = FaceDecoder()
        self.head = nn.Sequential(fully_connected(encoder.num_features, hidden, grid), nn.Linear(hidden, len(USUAL)))
        self.register_buffer("template", torch.zeros(len(self.decoder.corners)))  # mean details of the studio's texture
        self.progress = HostNumber(self, "done", 0.0)  # share of the run

    def numbers(self, video: Tensor) -> Tensor:
        """Predict standardised codes and poses ``[M, T, 20]`` float32 of clips ``[M, T, 3, H, W]``."""
        maps = self.encoder.maps(video)  # [M, D, T, h, w]
        if maps.shape[2] != video.shape[1]:
            raise ValueError(
                f"FaceAdaptation: the encoder gives {maps.shape[2]} maps for {video.shape[1]} frames: "
                "use one that keeps every frame"
            )
        found = self.head(maps.transpose(1, 2).flatten(0, 1)).float().unflatten(0, video.shape[:2])
        one, rest = found[..., : len(IDENTITY)], found[..., len(IDENTITY) :]
        return torch.cat([one.mean(1, keepdim=True).expand_as(one), rest], 2)

    def faces(self, standard: Tensor) -> Tensor:
        """Return codes and poses ``[..., 20]`` of standardised ones."""
        return standard * constants(SPREAD, standard) + constants(USUAL, standard)

    def points(self, standard: Tensor) -> Tensor:
        """Return points ``[..., V, 3]`` of standardised codes and poses ``[..., 20]``."""
        return self.decoder(self.faces(standard).flatten(0, -2)).unflatten(0, standard.shape[:-1])

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N clips."""
        if clips.target is None:
            raise ValueError("FaceAdaptation needs the codes of its labeller: the clips have no target")
        video, target = clips.video.flatten(0, 1), clips.target.flatten(0, 1)  # [M, T, ...]
        labelled = target[:, 0, 0].isfinite().float()  # [M]
        found = self.numbers(video)
        with torch.autocast(video.device.type, enabled=False):
            target = torch.where(target.isfinite(), target, constants(USUAL, target))
            true = self.points((target - constants(USUAL, target)) / constants(SPREAD, target))
            standard = (target - constants(USUAL, target)) / constants(SPREAD, target)
            points = self.points(found)
            unit = 2 * target[..., CODE + 3]
            away = errors(points, true, unit)  # [M, T]
            numbers = F.smooth_l1_loss(found, standard, reduction="none").mean(2)
            loss = _mean(away + 0.1 * numbers, labelled)
            if self.training and self.likeness > 0:
                self._learn_texture(video.float(), true, labelled)
            if self.progress.value >= self.adapt_from:
                terms = [self.consistency * self.change(video.float(), points).mean(1)] * (self.consistency > 0)
                terms += [self.likeness * self.strangeness(video.float(), points)] * (self.likeness > 0)
                terms += [self.prior * found.square().mean((1, 2))]
                loss = loss + _mean(torch.stack(terms).sum(0)[:, None], 1 - labelled)
            with torch.no_grad():
                base = errors(self.points(torch.zeros_like(found)), true, unit)
                score, chance = self._closeness(found, true, unit, base)
                values = [_filled(value, labelled, clips) for value in (score, chance)]
        return {"loss": loss, "closeness": values[0], "chance/closeness": values[1]}

    def change(self, video: Tensor, points: Tensor) -> Tensor:
        """Return how much the unwrapped texture changes from frame to frame: ``[M, T - 1]``.

        It is the mean absolute difference where both frames see the face, for clips ``[M, T, 3, H, W]`` and points
        ``[M, T, V, 3]``.
        """
        flat, total = video.flatten(0, 1), 0 * points[:, 1:, 0, 0]
        for scale in self.scales:
            colours, seen = self.decoder.unwrap(F.avg_pool2d(flat, scale), points.flatten(0, 1))
            colours, seen = (part.unflatten(0, video.shape[:2]) for part in (colours, seen))
            both = seen[:, 1:] * seen[:, :-1]  # [M, T - 1, P]
            apart = (colours[:, 1:] - colours[:, :-1]).abs().mean(2)
            total = total + (apart * both).sum(2) / both.sum(2).clamp(min=1)
        return total / len(self.scales)

    def strangeness(self, video: Tensor, points: Tensor) -> Tensor:
        """Return one minus the correlation of the texture's details with the studio's ``[M]``; see `change`."""
        fine, seen = self.decoder.unwrap(details(video.flatten(0, 1)), points.flatten(0, 1))
        fine, usual = fine[:, 0] * seen, self.template * seen  # [M T, P]
        size = (fine.square().sum(1) * usual.square().sum(1)).clamp(min=1e-6).sqrt()
        return (1 - (fine * usual).sum(1) / size).view(len(video), -1).mean(1)

    @torch.no_grad()
    def _learn_texture(self, video: Tensor, true: Tensor, labelled: Tensor) -> None:
        """Let the mean details of the studio's texture follow those of labelled frames."""
        fine, seen = self.decoder.unwrap(details(video.flatten(0, 1)), true.flatten(0, 1))
        weights = seen * labelled.repeat_interleave(video.shape[1])[:, None]
        mean = (fine[:, 0] * weights).sum(0) / weights.sum(0).clamp(min=1)
        self.template.lerp_(mean, 0.02)

    def _closeness(self, found: Tensor, true: Tensor, unit: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        def score(answer: Tensor) -> Tensor:
            return (1 / (1 + errors(self.points(answer), true, unit) / base.clamp(min=1e-6))).mean(1)

        return score(found), chance_level(score, found, torch.zeros_like(found))

    def after_step(self, progress: float) -> None:
        """Keep how much of the run is done, on which adaptation depends."""
        self.progress.set(progress)

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if frames are cropped, which codes don't follow, or no video has labels."""
        if not isinstance(training.transform, Squash):
            name = type(training.transform).__name__
            raise ValueError(f"FaceAdaptation: codes and poses don't follow a crop: use Squash instead of {name}")
        assert isinstance(self.labeller, FaceCodes)
        domains = self.labeller.domains
        if not any(_domain(training, row) in domains for row in training.kept.tolist()):
            raise ValueError(
                f"FaceAdaptation: no video is of the domains with labels, {', '.join(domains)}: "
                "add synthetic_face to data.root"
            )

    def describe(self, clips: Clips) -> list[list[str]]:
        """Say which clips have labels."""
        assert clips.target is not None
        known = clips.target[:, :, 0, 0].isfinite().tolist()
        return [["code and pose are known" if there else "no labels" for there in row] for row in known]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return each frame with dots on the points predicted."""
        video = clips.video.flatten(0, 1)
        places = self.points(self.numbers(video))[..., :2]  # [M, T, V, 2]
        height, width = video.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cells = torch.stack([x, y], -1).view(-1, 2).to(places) * 2 / width - 1 + 1 / width
        near = torch.cdist(places.flatten(0, 1), cells).amin(1) < 1.2 / width  # [M T, H W]
        shown = near.view(*video.shape[:2], 1, height, width).float()
        green = constants([0.0, 1.0, 0.0], shown).view(3, 1, 1)
        rgb = clips.rgb.flatten(0, 1)
        return {"prediction": (rgb + shown * (green - rgb)).unflatten(0, clips.video.shape[:2])}


def errors(points: Tensor, true: Tensor, unit: Tensor) -> Tensor:
    """Return the mean distance in the picture of points ``[M, T, V, 3]`` from the true ones, over ``[M, T]``."""
    return (points - true)[..., :2].norm(dim=3).mean(2) / unit


def _domain(data: ClipDataset, row: int) -> str:
    return data.videos[row].path.parent.name


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Average ``[M, T]`` over the chosen rows; 0 if there is none."""
    return (values.mean(1) * chosen).sum() / chosen.sum().clamp(min=1)


def _filled(values: Tensor, labelled: Tensor, clips: Clips) -> Tensor:
    """Average ``[M]`` per video, ``[B]``, those without labels being the mean of the others (0.5 without any)."""
    mean = torch.where(labelled.sum() > 0, _mean(values[:, None], labelled), 0.5)
    return torch.where(labelled > 0, values, mean).view(len(clips), -1).mean(1)
