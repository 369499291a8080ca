"""Self-supervised co-part segmentation (SCOPS).

W.-C. Hung, V. Jampani, S. Liu, P. Molchanov, M.-H. Yang, J. Kautz: SCOPS: Self-Supervised Co-Part Segmentation.
CVPR 2019. https://arxiv.org/abs/1905.01298
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import FrameEncoder, ResNet
from avssl.labels import MotionSegmentation
from avssl.methods import dense
from avssl.methods.base import Method
from avssl.methods.clustering import kmeans, nearest_centre, spaced
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather
from avssl.methods.frame.aet import warp
from avssl.methods.temporal.moving_objects import cell_targets
from avssl.pixels import constants

USED = (2,)  # stages of the frozen features: 1/16 of the frame
BEGIN = 10  # steps whose cells are clustered for the first vectors
CELLS = 128  # of each of these steps


class CoParts(Method):
    """Divide what moves into parts that are the same in all videos.

    The network gives each cell of the middle frame of a clip shares of K parts and of the background (a softmax).
    Four losses shape them (section 3):

    - concentration: the variance of each part's place about its centre (equation 1), each part counting by its share;
    - equivariance: the shares of a frame that was turned, scaled, shifted and recoloured are those of the frame,
      changed likewise (Kullback-Leibler divergence), and so are the centres (equations 2 and 3);
    - semantic consistency: a frozen network's features of what moves are sums of one non-negative vector per part,
      weighted by the shares; those of what does not move count as zero, which makes it background (equation 4). Half a
      face may be at rest at one moment, so such cells weigh less (``still``), or all would be background;
    - orthonormality: the parts' vectors have different directions (equation 5).

    What moves is found by `MotionSegmentation`, in place of the paper's saliency. After the first ten steps the vectors
    become the means of K clusters of the features of what moved; from random ones, one or two parts take everything.

    Metric: ``iou``, intersection over union of the cells of any part and those that move; chance is the better of
    calling all moving and the parts of another video. ``benchmarks/systems.py`` compares parts with landmarks.

    Args:
        features: the frozen network; see `avssl.encoders.Avssl` for one that an earlier run has trained. By default it
            is a ResNet as it is before training.
        parts: K (paper: 8).
        width: channels of the head.
        concentration: weight of the concentration.
        equivariance: weight of the equivariance of the shares.
        centres: weight of the equivariance of the centres.
        semantic: weight of the semantic consistency.
        orthonormal: weight of the orthonormality.
        still: weight in the semantic consistency of a cell that does not move, relative to one that does.
    """

    encoder: FrameEncoder
    memory: Tensor

    def __init__(
        self,
        encoder: ResNet,
        features: FrameEncoder | None = None,
        sampler: RandomClips | None = None,
        labeller: MotionSegmentation | None = None,
        parts: int = 8,
        width: int = 64,
        concentration: float = 0.5,
        equivariance: float = 1.0,
        centres: float = 3.0,
        semantic: float = 5.0,
        orthonormal: float = 0.3,
        still: float = 0.3,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=5, step=0.08, motion_weighted=True))
        self.labeller = labeller or MotionSegmentation()
        self.features = (features or ResNet(depth=18, width=16)).requires_grad_(False).eval()
        with torch.no_grad():
            seen = self.features.stages(torch.zeros(1, 1, 3, 64, 64))
        depth = sum(seen[stage].shape[1] for stage in USED)
        self.standard = nn.BatchNorm2d(depth, affine=False)
        self.head = dense.MapHead(encoder, parts + 1, width)
        self.vectors = nn.Parameter(torch.rand(parts, depth) / depth**0.5)
        self.weights, self.still = (concentration, equivariance, centres, semantic, orthonormal), still
        self.register_buffer("memory", torch.zeros(BEGIN * CELLS, depth))
        self.taken = HostNumber(self, "steps")  # so far, at most BEGIN
        self.fresh: list[Tensor] = []  # features of cells of all forward passes of this step

    def train(self, mode: bool = True) -> CoParts:
        """Leave the frozen features in evaluation mode."""
        super().train(mode)
        self.features.eval()
        return self

    def shares(self, frames: Tensor) -> Tensor:
        """Return shares ``[M, 1 + K, h, w]`` of background and parts, summing to 1, of frames ``[M, 3, H, W]``."""
        return self.head(self.encoder.stages(frames[:, None])).softmax(1)

    @torch.no_grad()
    def targets(self, frames: Tensor, size: Sequence[int]) -> Tensor:
        """Return frozen features ``[M, D, h, w]``, standardised, and zero where they are below their mean."""
        stages = self.features.stages(frames[:, None])
        maps = [F.interpolate(stages[stage].float(), size=tuple(size), mode="bilinear") for stage in USED]
        return self.standard(torch.cat(maps, 1)).relu()

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and intersection over union over all cells."""
        frames = dense.middle_frames(clips)[:, 0]  # [M, 3, H, W]
        matrices, turn, scale, shift = random_similarity(len(frames), frames.device)
        both = self.shares(torch.cat([frames, recoloured(warp(frames, matrices, "zeros"))]))
        shares, changed = both.chunk(2)
        moving, known = cell_targets(clips, shares.shape[-2:])  # [B, N, h, w]
        target, clear, sure = self.targets(frames, shares.shape[-2:]), moving.flatten(0, 1), known.flatten(0, 1)
        if self.training and self.taken.value < BEGIN:
            self.fresh.append(gather(drawn_cells(target * clear[:, None]))[0])
        losses = (
            concentration(shares),
            *self._equivariance(shares, changed, matrices, (turn, scale, shift)),
            self._semantic(shares, target, clear, sure),
            self._overlap(),
        )

        def iou(mask: Tensor) -> Tensor:
            one, either = ((shape & known).flatten(1).sum(1) for shape in (mask & moving, mask | moving))
            return one / either.clamp(min=1)

        mask = shares[:, 0].view_as(moving) < 0.5
        loss = torch.stack([weight * part for weight, part in zip(self.weights, losses, strict=True)]).sum()
        return {"loss": loss, "iou": iou(mask), "chance/iou": dense.chance_level(iou, mask, torch.ones_like(mask))}

    def _equivariance(
        self, shares: Tensor, changed: Tensor, matrices: Tensor, moves: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the divergence of shares and the squared distance of centres, from those that are expected."""
        inside = warp(torch.ones_like(shares[:, :1]), matrices, "zeros") > 0.99  # [M, 1, h, w]
        expected = warp(shares, matrices, "zeros").clamp(min=1e-6)
        apart = (changed * (changed.clamp(min=1e-6).log() - expected.log())).sum(1, keepdim=True)
        turn, scale, shift = moves
        back = centres(shares) - shift[:, None]  # [M, K, 2]
        cos, sin = turn.cos()[:, None], turn.sin()[:, None]
        across = torch.stack([cos * back[..., 0] + sin * back[..., 1], cos * back[..., 1] - sin * back[..., 0]], 2)
        away = (centres(changed) - across / scale[:, None, None]).square().sum(2)
        return (apart * inside).sum() / inside.sum().clamp(min=1), away.mean()

    def _semantic(self, shares: Tensor, target: Tensor, moving: Tensor, known: Tensor) -> Tensor:
        """Return the squared error of the features by the parts, relative to the features of what moves."""
        made = torch.einsum("mkhw,kd->mdhw", shares[:, 1:], self.vectors.float().relu())
        target = target * moving[:, None]
        error = (target - made).square().sum(1) * known * torch.where(moving, 1.0, self.still)
        return error.sum() / (target.square().sum(1) * known).sum().clamp(min=1e-6)

    def after_step(self, progress: float) -> None:
        """Remember cells of the first steps, and cluster them after the last of these, which alone waits."""
        fresh, self.fresh = self.fresh, []
        if self.taken.value >= BEGIN:
            return
        cells = torch.cat(fresh)[:CELLS]
        start = self.taken.value * CELLS
        self.memory[start : start + len(cells)] = cells
        self.taken.set(self.taken.value + 1)
        if self.taken.value == BEGIN:
            self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Set the vectors to the means of clusters of the cells that moved; leave them if there are too few."""
        cells = self.memory[self.memory.any(1)]
        if len(cells) < len(self.vectors):
            return
        ways = F.normalize(cells, dim=1)
        own = nearest_centre(ways, kmeans(ways, spaced(ways, len(self.vectors))))
        sums = torch.zeros_like(self.vectors).index_add_(0, own, cells)
        self.vectors.copy_(sums / torch.bincount(own, minlength=len(sums)).clamp(min=1)[:, None])

    def _overlap(self) -> Tensor:
        """Return the mean squared cosine between the vectors of different parts."""
        ways = F.normalize(self.vectors.float().relu(), dim=1)
        count = len(ways)
        return ((ways @ ways.T).square().sum() - count) / max(count * (count - 1), 1)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the share of the image that moves."""
        assert clips.target is not None
        moving = (clips.target == 1).flatten(2).float().mean(2)
        return [[f"{share:.0%} of the middle frame moves" for share in row] for row in moving.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the trimap of what moves (grey: unknown), and the parts in colours over black."""
        assert clips.target is not None
        trimap = torch.where(clips.target < 0, 0.5, clips.target.float())
        drawn = coloured(self.shares(dense.middle_frames(clips)[:, 0]))
        return {
            "target": dense.grey_pictures(trimap),
            "parts": drawn.unflatten(0, clips.video.shape[:2])[:, :, None],
        }


def drawn_cells(target: Tensor) -> Tensor:
    """Draw `CELLS` cells, or all, of features ``[M, D, h, w]``: ``[N, D]``, first those that are not zero."""
    flat = target.permute(0, 2, 3, 1).flatten(0, 2)  # [M h w, D]
    order = torch.rand(len(flat), device=flat.device) + flat.any(1)
    return flat[order.topk(min(CELLS, len(flat))).indices]


def cell_places(maps: Tensor) -> Tensor:
    """Return x and y ``[h, w, 2]`` of the cells of ``[..., h, w]``, -1 to 1 along the sides."""
    height, width = maps.shape[-2:]
    y = (torch.arange(height, device=maps.device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=maps.device) * 2 + 1) / width - 1
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], 2)


def _weights(shares: Tensor) -> Tensor:
    """Return where each part is: ``[M, K, h, w]``, summing to 1, from ``[M, 1 + K, h, w]``."""
    parts = shares[:, 1:]
    return parts / parts.sum((2, 3), keepdim=True).clamp(min=1e-6)


def centres(shares: Tensor) -> Tensor:
    """Return the centres ``[M, K, 2]`` of parts, x and y in -1 to 1, from shares ``[M, 1 + K, h, w]``."""
    return torch.einsum("mkhw,hwc->mkc", _weights(shares), cell_places(shares))


def spread(shares: Tensor) -> Tensor:
    """Return the variance ``[M, K]`` of each part's place about its centre (equation 1)."""
    places = cell_places(shares)
    square = torch.einsum("mkhw,hw->mk", _weights(shares), places.square().sum(2))
    return square - centres(shares).square().sum(2)


def concentration(shares: Tensor) -> Tensor:
    """Return the mean variance of the parts of ``[M, 1 + K, h, w]``, weighted by their shares.

    Unweighted, one part takes everything that moves, and the others shrink to points.
    """
    sizes = shares[:, 1:].sum((2, 3)).detach()  # [M, K]
    return ((spread(shares) * sizes).sum(1) / sizes.sum(1).clamp(min=1e-6)).mean()


def random_similarity(count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw turns of up to 25 degrees, scales of 0.8 to 1.2 and shifts of up to 0.15 of the sides.

    Returns:
        Matrices ``[count, 3, 3]`` from the result to the original (see `warp`); angles ``[count]``, scales ``[count]``,
        shifts ``[count, 2]``.
    """
    drawn = 2 * torch.rand(count, 4, device=device) - 1
    turn, scale, shift = drawn[:, 0] * math.radians(25), 1 + 0.2 * drawn[:, 1], 0.3 * drawn[:, 2:]
    cos, sin = scale * turn.cos(), scale * turn.sin()
    none, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [cos, -sin, shift[:, 0], sin, cos, shift[:, 1], none, none, one]
    return torch.stack(rows, 1).view(-1, 3, 3), turn, scale, shift


def recoloured(frames: Tensor) -> Tensor:
    """Change contrast and brightness of each channel of normalised frames ``[M, 3, H, W]`` at random."""
    shape = (*frames.shape[:2], 1, 1)
    gain, shift = (torch.rand(shape, device=frames.device) - 0.5 for _ in range(2))
    return frames * (1 + 0.6 * gain) + 0.6 * shift


def coloured(shares: Tensor) -> Tensor:
    """Draw shares ``[M, 1 + K, h, w]`` in the colours of their parts: ``[M, 3, h, w]`` in [0, 1]."""
    count = shares.shape[1] - 1
    hues = [value for part in range(count) for value in colorsys.hsv_to_rgb(part / count, 0.85, 1.0)]
    return torch.einsum("mkhw,kc->mchw", shares[:, 1:], constants(hues, shares).view(count, 3))
