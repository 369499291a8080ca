"""Joint-embedding prediction of features in video (V-JEPA).

A. Bardes, Q. Garrido, J. Ponce, X. Chen, M. Rabbat, Y. LeCun, M. Assran, N. Ballas: Revisiting Feature Prediction for
Learning Visual Representations from Video. TMLR 2024. https://arxiv.org/abs/2404.08471
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders.vit import Blocks, ViT, space_time_code
from avssl.methods.base import Method, a_video
from avssl.methods.losses import told_apart
from avssl.methods.momentum import MomentumCopy
from avssl.pixels import denormalise

MASKS = ((8, 0.15), (2, 0.7))  # section 3.2: short-range and long-range; how many blocks, each which share of a frame
ASPECT = (0.75, 1.5)  # of a block: height over width


class VJEPA(Method):
    """What would a slow copy of the encoder say of the part that is hidden?

    Large blocks of the picture are hidden during the whole clip. From the features of the visible tokens a narrow
    transformer predicts those which the copy, which sees the whole clip, has for the hidden ones (section 3.1,
    equation 1): the error is the mean absolute difference, the copy's features being layer-normalised. Each clip is
    masked twice, by eight small blocks and by two large ones.

    Metric: ``identified``, how often a prediction is nearer to the target of its own clip than to that of another clip
    of the batch *for the same token*; chance 1/2. Between tokens of one clip the place alone would tell. Where the
    features collapse to the same for all clips, all distances are equal, and the metric is at chance, however small
    the loss.

    Differences from the paper: the masks of a step are shared by the batch, so that no clip's tokens need be cut to
    the shortest mask; the copy's momentum rises along a cosine instead of linearly.

    Args:
        encoder: space-time transformer.
        sampler: draws the clips.
        hidden: channels of the predictor's tokens (the paper: 384).
        depth: blocks of the predictor (12).
        momentum: of the copy at the beginning (0.998).
    """

    encoder: ViT

    def __init__(
        self,
        encoder: ViT,
        sampler: RandomClips | None = None,
        hidden: int = 384,
        depth: int = 12,
        momentum: float = 0.998,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(1, 16, 0.16)
        self.copy = MomentumCopy(encoder, momentum)
        self.reduce = nn.Linear(encoder.num_features, hidden)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.predictor = Blocks(hidden, depth)
        self.expand = nn.Linear(hidden, encoder.num_features)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metric over B·N clips."""
        video = clips.video.flatten(0, 1)  # [B N, T, 3, H, W]
        grid = self.encoder.grid(video)
        patches, positions = self.encoder.patches(video), self.encoder.positions(video)
        places = space_time_code(grid, self.predictor.norm.normalized_shape[0], video.device)  # [L, hidden]
        wanted = self._wanted(video)  # [B N, L, D]
        losses, identified = [], []
        for count, share in MASKS:
            mask = blocks(grid, count, share).to(video.device)  # [L]
            context = self.encoder.encode(patches[:, ~mask], positions[~mask])  # [B N, V, D]
            hidden = (self.blank + places[mask]).expand(len(video), -1, -1)  # [B N, M, hidden]
            tokens = self.predictor(torch.cat([self.reduce(context) + places[~mask], hidden], 1))
            predicted = self.expand(tokens[:, context.shape[1] :]).float()  # [B N, M, D]
            losses.append(F.l1_loss(predicted, wanted[:, mask]))
            with torch.no_grad():
                one, other = predicted.transpose(0, 1), wanted[:, mask].transpose(0, 1)  # [M, B N, D]
                identified.append(told_apart(torch.cdist(one, other, p=1.0)).mean(0))  # [B N]
        score = a_video(torch.stack(identified).mean(0), clips)
        return {
            "loss": torch.stack(losses).mean(),
            "identified": score,
            "chance/identified": torch.full_like(score, 0.5),
        }

    @torch.no_grad()
    def _wanted(self, video: Tensor) -> Tensor:
        """Layer-normalised features of all tokens of whole clips: ``[B, L, D]`` float32."""
        maps: Tensor = self.copy.network.maps(video)  # type: ignore[operator]
        return F.layer_norm(maps.flatten(2).transpose(1, 2).float(), maps.shape[1:2])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The first frame of each clip behind a short-range and a long-range mask."""
        video = clips.video.flatten(0, 1)
        grid = self.encoder.grid(video)
        masks = [blocks(grid, *kind).to(video.device) for kind in MASKS]
        patches = self.encoder.patches(video)
        drawn = [self.encoder.pixels(patches * ~mask[:, None], grid)[:, 0] for mask in masks]
        return {"masks": denormalise(torch.stack(drawn, 1)).unflatten(0, clips.video.shape[:2])}

    def after_step(self, progress: float) -> None:
        """The copy follows."""
        self.copy.follow(self.encoder, progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Nothing that differs between clips: the masks are drawn in `forward`."""
        return [["features behind blocks"] * clips.video.shape[1]] * len(clips)


def blocks(grid: tuple[int, int, int], count: int, share: float) -> Tensor:
    """Hides blocks of the picture during the whole clip (section 3.2). Draws from torch's global random numbers.

    Args:
        grid: tokens in time, height and width.
        count: blocks, which may overlap.
        share: of the picture that each covers; all are of the same shape.

    Returns:
        ``[L]`` bool, True where hidden, on the CPU. One place at least is hidden and one is visible.
    """
    t, h, w = grid
    aspect = ASPECT[0] + (ASPECT[1] - ASPECT[0]) * torch.rand(()).item()
    height = min(h, max(1, round(math.sqrt(share * h * w * aspect))))
    width = min(w, max(1, round(math.sqrt(share * h * w / aspect))))
    hidden = torch.zeros(h, w, dtype=torch.bool)
    for _ in range(count):
        top, left = (int(torch.randint(room + 1, ())) for room in (h - height, w - width))
        hidden[top : top + height, left : left + width] = True
    spared = torch.randint(h * w, ())
    if hidden.all():
        hidden.view(-1)[spared] = False
    return hidden.flatten().repeat(t)
