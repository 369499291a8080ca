"""Joint-embedding prediction of features in video (V-JEPA).

A. Bardes, Q. Garrido, J. Ponce, X. Chen, M. Rabbat, Y. LeCun, M. Assran, N. Ballas: Revisiting Feature Prediction for
Learning Visual Representations from Video. TMLR 2024. https://arxiv.org/abs/2404.08471
"""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import TokenEncoder
from avssl.encoders.vit import Blocks, space_time_code
from avssl.methods.base import Method, measured
from avssl.methods.losses import identification_accuracy
from avssl.methods.momentum import MomentumCopy
from avssl.pixels import denormalise

MASKS = ((8, 0.15), (2, 0.7))  # section 3.2: short-range and long-range; number of blocks, share of a frame per block
ASPECT = (0.75, 1.5)  # height over width of a block


class VJEPA(Method):
    """Predict a momentum encoder's features of masked blocks.

    Large blocks of the image are masked during the whole clip. From the features of the visible tokens a narrow
    transformer predicts those of the masked ones, as given by the momentum encoder, which sees the whole clip (section
    3.1, equation 1). The loss is L1 to the layer-normalised targets. Each clip is masked twice, as in ``MASKS``.

    Metric: ``identified``, how often a prediction is nearer to the target of its own clip than to that of another clip
    of the batch *for the same token*; chance 1/2. Within a clip the position alone would tell tokens apart. If the
    features of all clips collapse, all distances are equal and the metric is at chance, however small the loss.

    Differences from the paper: the masks of a step are shared by the batch, so that no clip's tokens have to be cut to
    the shortest mask; the momentum rises along a cosine instead of linearly.

    Args:
        hidden: channels of the predictor's tokens (the paper: 384).
        depth: blocks of the predictor (12).
        momentum: initial momentum (0.998).
    """

    encoder: TokenEncoder
    caption = "features behind blocks"

    def __init__(
        self,
        encoder: TokenEncoder,
        sampler: RandomClips | None = None,
        hidden: int = 384,
        depth: int = 12,
        momentum: float = 0.998,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(1, 16, 0.16))
        self.copy = MomentumCopy(encoder, momentum)
        self.reduce = nn.Linear(encoder.num_features, hidden)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.predictor = Blocks(hidden, depth)
        self.expand = nn.Linear(hidden, encoder.num_features)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N clips."""
        video = clips.video.flatten(0, 1)  # [B N, T, 3, H, W]
        grid = self.encoder.grid(video)
        patches, positions = self.encoder.patches(video), self.encoder.positions(video)
        places = space_time_code(grid, self.predictor.norm.normalized_shape[0], video.device)  # [L, hidden]
        target = self._targets(video)  # [B N, L, D]
        losses, identified = [], []
        for count, share in MASKS:
            mask = block_mask(grid, count, share).to(video.device)  # [L]
            context = self.encoder.encode(patches[:, ~mask], positions[~mask])  # [B N, V, D]
            hidden = repeat(self.blank + places[mask], "m d -> b m d", b=len(video))
            tokens = self.predictor(torch.cat([self.reduce(context) + places[~mask], hidden], 1))
            predicted = self.expand(tokens[:, context.shape[1] :]).float()  # [B N, M, D]
            losses.append(F.l1_loss(predicted, target[:, mask]))
            with torch.no_grad():
                one, other = predicted.transpose(0, 1), target[:, mask].transpose(0, 1)  # [M, B N, D]
                identified.append(identification_accuracy(torch.cdist(one, other, p=1.0)).mean(0))  # [B N]
        return measured(clips, torch.stack(losses).mean(), identified=(torch.stack(identified).mean(0), 0.5))

    @torch.no_grad()
    def _targets(self, video: Tensor) -> Tensor:
        """Return layer-normalised features of all tokens of unmasked clips: ``[B, L, D]`` float32."""
        maps: Tensor = self.copy.network.maps(video)  # type: ignore[operator]
        return F.layer_norm(rearrange(maps, "b d t h w -> b (t h w) d").float(), maps.shape[1:2])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip behind a short-range and a long-range mask."""
        video = clips.video.flatten(0, 1)
        grid = self.encoder.grid(video)
        masks = [block_mask(grid, *kind).to(video.device) for kind in MASKS]
        patches = self.encoder.patches(video)
        drawn = [self.encoder.pixels(patches * ~mask[:, None], grid)[:, 0] for mask in masks]
        return {"masks": denormalise(torch.stack(drawn, 1)).unflatten(0, clips.video.shape[:2])}

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.copy.follow(self.encoder, progress)


def block_mask(grid: tuple[int, int, int], count: int, share: float) -> Tensor:
    """Mask ``count`` blocks, each a ``share`` of the image, during the whole clip (section 3.2): ``[L]`` bool, CPU.

    ``grid`` counts tokens in time, height and width. Blocks have the same shape and may overlap; at least one place is
    masked and one visible. Uses torch's global generator.
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
