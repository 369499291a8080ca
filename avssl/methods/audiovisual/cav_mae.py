"""Contrastive audio-visual masked autoencoding (CAV-MAE).

Y. Gong, A. Rouditchenko, A. H. Liu, D. Harwath, L. Karlinsky, H. Kuehne, J. Glass: Contrastive Audio-Visual Masked
Autoencoder. ICLR 2023. https://arxiv.org/abs/2210.07839
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import uniform
from avssl.encoders.audio_vit import AudioViT
from avssl.encoders.frame_vit import FrameViT
from avssl.encoders.vit import Blocks, space_time_code
from avssl.media import VideoInfo
from avssl.methods.audiovisual.streams import AudioVisualMethod, common_span
from avssl.methods.base import measured
from avssl.methods.distributed import drawn, gather
from avssl.methods.losses import inner_products, nearer
from avssl.runtime.checks import check_ranges

EPSILON = 1e-6  # added to the variance of a patch


@dataclass(frozen=True)
class FrameAndSound:
    """Sampler of some seconds of sound, and one frame at a random moment of them.

    Args:
        sound: seconds of sound (the paper: 10).
    """

    sound: float = 10.0

    def __post_init__(self) -> None:
        check_ranges("FrameAndSound", self, sound="(0, inf)")

    @property
    def heard(self) -> float:
        """Duration of the sound."""
        return self.sound

    @property
    def seconds(self) -> float:
        """Duration of the sound, in which the frame lies."""
        return self.sound

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[1, 1]`` and the sound."""
        begin, end = common_span(info, self.sound)
        start = uniform(begin, max(begin, end - self.sound), rng)
        moment = uniform(start, start + self.sound, rng)
        heard = torch.tensor([[start, start + self.sound]], dtype=torch.float64)
        return ClipTimes(torch.tensor([[moment]], dtype=torch.float64), heard)


class Masked(NamedTuple):
    """One stream of a batch: all its patches, and which of them are visible.

    Attributes:
        patches: ``[B, L, P]``.
        visible: ``[B, V]`` indices of tokens.
        hidden: ``[B, M]`` indices of the others.
        places: ``[L, hidden]`` position codes for the decoder.
        tokens: ``[B, V, D]`` visible tokens after the stream's own blocks.
    """

    patches: Tensor
    visible: Tensor
    hidden: Tensor
    places: Tensor
    tokens: Tensor

    def target(self, patches: Tensor) -> Tensor:
        """Return of ``[B, L, P]`` patches those at masked places, each standardised, ``[B, M, P]`` float32."""
        chosen = patches.take_along_dim(self.hidden[..., None], 1).float()
        return F.layer_norm(chosen, chosen.shape[2:], eps=EPSILON)


class CAVMAE(AudioVisualMethod):
    """Reconstruct masked patches of a frame and of its sound from both, and match frames with sounds.

    Each stream's visible patches pass the blocks of its own transformer. The ``joint`` last blocks, whose attention and
    MLP both streams share, run three times, each time with layer normalisations of their own: on both streams' tokens
    together, from which a decoder predicts the masked patches, normalised by their mean and deviation; and on each
    stream's alone, whose mean vectors are contrasted: a frame must find its sound among those of the batch. The loss is
    the mean squared error of both streams over masked patches plus ``contrast`` times the cross-entropy.

    The exported encoders are the two transformers with the shared blocks, as they run on one stream alone.

    Metrics: ``accuracy``, whether a frame's nearest sound of the batch is its own, chance one over their number;
    ``identified_frame`` and ``identified_sound``, how often the prediction of a masked patch is nearer to that patch
    than to the same patch of another video, chance 1/2.

    Differences from the paper: the decoder's heads have 64 channels (32 there); the layer that predicts is
    initialised near zero, as for `VideoMAE`; the encoders' bias takes the place of a learnt token for each modality.
    Weights of ImageNet's masked autoencoder, from which the paper starts, are not loaded by themselves.

    Args:
        encoder: transformer over patches of frames (the paper: width 768, depth 12).
        audio_encoder: transformer over patches of spectrograms, of the same width.
        joint: blocks that are shared (1).
        hidden: channels of the decoder's tokens (512).
        depth: blocks of the decoder (8).
        masked: share of the patches of each stream that is masked (0.75).
        contrast: weight of the contrastive loss (0.01).
        temperature: softmax temperature (0.05).

    Raises:
        ValueError: if the encoders' widths differ, or one of them has no block of its own.
    """

    encoder: FrameViT
    audio_encoder: AudioViT
    sampler: FrameAndSound
    caption = "a frame and its sound, both masked"

    def __init__(
        self,
        encoder: FrameViT,
        audio_encoder: AudioViT,
        sampler: FrameAndSound | None = None,
        joint: int = 1,
        hidden: int = 512,
        depth: int = 8,
        masked: float = 0.75,
        contrast: float = 0.01,
        temperature: float = 0.05,
    ) -> None:
        super().__init__(encoder, audio_encoder, sampler or FrameAndSound())
        width, depths = encoder.num_features, [len(part.blocks.layers) for part in (encoder, audio_encoder)]
        if audio_encoder.num_features != width:
            raise ValueError(f"CAVMAE: widths must be equal, got {width} and {audio_encoder.num_features}")
        if not 0 < joint < min(depths):
            raise ValueError(f"CAVMAE: joint must be from 1 to below the encoders' depths {depths}, got {joint}")
        check_ranges("CAVMAE", {"masked": masked, "temperature": temperature}, masked="[0, 1)", temperature="(0, inf)")
        self.joint, self.masked, self.contrast, self.temperature = joint, masked, contrast, temperature
        self.both = Blocks(width, joint)
        for number, block in enumerate(encoder.blocks.layers[-joint:]):
            for other in (audio_encoder.blocks.layers[number - joint], self.both.layers[number]):
                share(block, other)
        self.reduce = nn.Linear(width, hidden)
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.kinds = nn.Parameter(torch.randn(2, hidden) * 0.02)
        self.decoder = Blocks(hidden, depth)
        self.pixels = nn.Linear(hidden, 3 * encoder.patch**2)
        self.powers = nn.Linear(hidden, audio_encoder.patch**2)
        for layer in (self.pixels, self.powers):
            nn.init.normal_(layer.weight, std=0.002)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B frames and their sounds."""
        seen = self._masked(self.encoder, clips.video.flatten(0, 1))
        heard = self._masked(self.audio_encoder, self.audio_encoder.spectrogram(self.sounds(clips)))
        frame, sound = self._vector(self.encoder, seen), self._vector(self.audio_encoder, heard)
        every, offset = gather(sound)  # [world B, D]
        cosines = inner_products(frame, every)  # [B, world B]
        own = torch.arange(len(clips), device=cosines.device) + offset
        loss = self.contrast * F.cross_entropy(cosines / self.temperature, own)
        metrics = {"accuracy": (cosines.argmax(1) == own, 1 / len(every))}
        for name, stream, predicted in zip(("frame", "sound"), (seen, heard), self._predict(seen, heard), strict=True):
            target = stream.target(stream.patches)
            loss = loss + F.mse_loss(predicted, target)
            with torch.no_grad():
                other = stream.target(stream.patches.roll(1, 0))  # the same patches of another video
                near, far = ((predicted - patches).square().sum(2) for patches in (target, other))
                metrics[f"identified_{name}"] = nearer(near, far), 0.5
        return measured(clips, loss, **metrics)

    def _masked(self, encoder: FrameViT | AudioViT, shown: Tensor) -> Masked:
        """Mask a stream, frames ``[B, 1, 3, H, W]`` or spectrograms ``[B, F, T]``, and encode what is visible."""
        patches = encoder.patches(shown)  # [B, L, P]
        count, length = patches.shape[:2]
        order = drawn(lambda videos: torch.rand(videos, length, device=shown.device), count).argsort(1)
        kept = max(1, int((1 - self.masked) * order.shape[1]))
        visible, hidden = order[:, :kept], order[:, kept:]
        tokens = encoder.embed(patches.take_along_dim(visible[..., None], 1)) + encoder.positions(shown)[visible]
        for block in encoder.blocks.layers[: -self.joint]:
            tokens = block(tokens)
        places = space_time_code(encoder.grid(shown), len(self.blank), shown.device)
        return Masked(patches, visible, hidden, places, tokens)

    def _vector(self, encoder: FrameViT | AudioViT, stream: Masked) -> Tensor:
        """Return a stream's unit vectors ``[B, D]`` float32, after the shared blocks on its tokens alone."""
        tokens = stream.tokens
        for block in encoder.blocks.layers[-self.joint :]:
            tokens = block(tokens)
        return F.normalize(encoder.blocks.norm(tokens).mean(1, dtype=torch.float32), dim=1)

    def _predict(self, seen: Masked, heard: Masked) -> tuple[Tensor, Tensor]:
        """Return the predicted patches of both streams, ``[B, M, P]`` float32 each."""
        streams, parts = (seen, heard), []
        counts = [stream.visible.shape[1] for stream in streams]
        joined = self.reduce(self.both(torch.cat([seen.tokens, heard.tokens], 1)))  # [B, V_seen + V_heard, hidden]
        for stream, tokens, kind in zip(streams, joined.split(counts, 1), self.kinds, strict=True):
            known, unknown = tokens + stream.places[stream.visible], self.blank + stream.places[stream.hidden]
            parts += [known + kind, unknown + kind]
        decoded = self.decoder(torch.cat(parts, 1)).split([part.shape[1] for part in parts], 1)
        return self.pixels(decoded[1]).float(), self.powers(decoded[3]).float()


def share(block: nn.Module, other: nn.Module) -> None:
    """Give another transformer block the layers of a block, except its normalisations."""
    for name, part in (*block.named_children(), *block.named_parameters(recurse=False)):
        if not name.startswith("norm"):
            setattr(other, name, part)
