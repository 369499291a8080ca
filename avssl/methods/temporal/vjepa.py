"""Joint-embedding prediction of features in video (V-JEPA).

A. Bardes, Q. Garrido, J. Ponce, X. Chen, M. Rabbat, Y. LeCun, M. Assran, N. Ballas: Revisiting Feature Prediction for
Learning Visual Representations from Video. TMLR 2024. https://arxiv.org/abs/2404.08471
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder, TokenEncoder
from avssl.encoders.transformer import Blocks
from avssl.encoders.vit import coordinates, space_time_code
from avssl.methods.base import Method, measured
from avssl.methods.momentum import MomentumCopy
from avssl.methods.temporal.masks import block_mask, token_encoder
from avssl.methods.temporal.published import vjepa2_predictor

MASKS = ((8, 0.15), (2, 0.7))  # section 3.2: short-range and long-range; number of blocks, share of a frame per block


class VJEPA(Method):
    """Predict a momentum encoder's features of masked blocks.

    Large blocks of the image are masked during the whole clip. From the features of the visible tokens a narrow
    transformer predicts those of the masked ones, as given by the momentum encoder, which sees the whole clip (section
    3.1, equation 1). The loss is L1 to the layer-normalised targets. Each clip is masked twice, as in ``MASKS``.

    Metric: ``identified``, how often a prediction is nearer to the target of its own clip than to that of the next clip
    of the batch *for the same token*; chance 1/2. Within a clip the position alone would tell tokens apart. If the
    features of all clips collapse, all distances are equal and the metric is at chance, however small the loss.

    Differences from the paper: as many tokens of every clip are masked, the average of what blocks of the paper's size
    mask (`block_mask`), where the authors cut the tokens of a batch to the shortest mask. The momentum rises along a
    cosine, or, with ``recipe.ema: linear``, as in the paper.

    Args:
        encoder: an encoder over tokens that can be given some of them, a `ViT` or a `HuggingFace`.
        hidden: channels of the predictor's tokens (the paper: 384).
        depth: blocks of the predictor (12).
        momentum: initial momentum (0.998).
        heads: attention heads of the predictor (12); one per 64 channels if not given.
        rotary: rotary positions in the predictor, as in V-JEPA 2, instead of sines and cosines; and, as there, an own
            token for masked places of each of the two kinds of mask.
        predictor: folder of a V-JEPA 2 checkpoint in the Hugging Face format, whose predictor is continued; its size
            and positions replace ``hidden``, ``depth``, ``heads`` and ``rotary``.

    Raises:
        ValueError: if the encoder needs all tokens, or the predictor belongs to another encoder.
    """

    encoder: TokenEncoder
    caption = "features behind blocks"

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        hidden: int = 384,
        depth: int = 12,
        momentum: float = 0.998,
        heads: int | None = None,
        rotary: bool = False,
        predictor: str | None = None,
    ) -> None:
        token_encoder("VJEPA", encoder)
        super().__init__(encoder, sampler or RandomClips(1, 16, 0.16))
        self.copy = MomentumCopy(encoder, momentum)
        self.rotary = rotary or predictor is not None
        if predictor is not None:
            parts = vjepa2_predictor(predictor)
            if parts.reduce.in_features != encoder.num_features:
                told = f"for {parts.reduce.in_features} features, and the encoder has {encoder.num_features}"
                raise ValueError(f"{predictor}: its predictor is {told}")
            self.reduce, self.blank, self.predictor = parts.reduce, nn.Parameter(parts.blank.clone()), parts.blocks
            self.expand = parts.out
            return
        self.reduce = nn.Linear(encoder.num_features, hidden)
        kinds = (len(MASKS),) if rotary else ()
        self.blank = nn.Parameter(torch.randn(*kinds, hidden) * 0.02)
        self.predictor = Blocks(hidden, depth, heads)
        self.expand = nn.Linear(hidden, encoder.num_features)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N clips."""
        video = clips.video.flatten(0, 1)  # [B N, T, 3, H, W]
        grid = self.encoder.grid(video)
        patches, positions = self.encoder.patches(video), self.encoder.positions(video)
        target = self._targets(video)  # [B N, L, D]
        losses, identified = [], []
        for kind, (count, share) in enumerate(MASKS):
            visible, hidden = block_mask(len(video), grid, count, share, video.device)
            context = self.encoder.encode(patches.take_along_dim(visible[..., None], 1), positions[visible])
            predicted = self.predict(context, visible, hidden, grid, kind)  # [B N, M, D]
            own = target.take_along_dim(hidden[..., None], 1)
            losses.append(F.l1_loss(predicted, own))
            with torch.no_grad():
                other = target.roll(1, 0).take_along_dim(hidden[..., None], 1)
                nearer = (predicted - other).abs().mean(2) - (predicted - own).abs().mean(2)  # [B N, M]
                identified.append((nearer.sign() / 2 + 0.5).mean(1))
        return measured(clips, torch.stack(losses).mean(), identified=(torch.stack(identified).mean(0), 0.5))

    def predict(
        self, context: Tensor, visible: Tensor, hidden: Tensor, grid: tuple[int, int, int], kind: int
    ) -> Tensor:
        """Predict features of masked tokens, ``[B, M, D]`` float32.

        Args:
            context: features of the visible tokens, ``[B, V, D]``.
            visible: their indices in the clip, ``[B, V]``.
            hidden: indices of the masked tokens, ``[B, M]``.
            grid: tokens of the clip in time, height and width.
            kind: number of the kind of mask in ``MASKS``.
        """
        blank = self.blank if self.blank.ndim == 1 else self.blank[kind]
        seen, masked = self.reduce(context), blank.expand(*hidden.shape, -1)
        places = torch.cat([visible, hidden], 1)  # [B, L]
        if self.rotary:
            found = self.predictor(torch.cat([seen, masked], 1), coordinates(grid, context.device)[places])
        else:
            code = space_time_code(grid, blank.shape[0], context.device)[places]  # [B, L, hidden]
            found = self.predictor(torch.cat([seen, masked], 1) + code)
        return self.expand(found[:, visible.shape[1] :]).float()

    @torch.no_grad()
    def _targets(self, video: Tensor) -> Tensor:
        """Return layer-normalised features of all tokens of unmasked clips: ``[B, L, D]`` float32."""
        maps: Tensor = self.copy.network.maps(video)  # type: ignore[operator]
        return F.layer_norm(rearrange(maps, "b d t h w -> b (t h w) d").float(), maps.shape[1:2])

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip behind a short-range and a long-range mask."""
        video = clips.video.flatten(0, 1)
        grid = self.encoder.grid(video)
        patches = self.encoder.patches(video)
        drawn = []
        for count, share in MASKS:
            _, hidden = block_mask(len(video), grid, count, share, video.device)
            shown = patches.scatter(1, hidden[..., None].expand(-1, -1, patches.shape[2]), 0.0)
            drawn.append(self.encoder.pixels(shown, grid)[:, 0])
        return {"masks": clips.denormalise(torch.stack(drawn, 1)).unflatten(0, clips.video.shape[:2])}

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder."""
        self.copy.follow(self.encoder, progress)
