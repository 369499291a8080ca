"""Self-supervised generation of spatial audio for 360° video.

P. Morgado, N. Vasconcelos, T. Langlois, O. Wang: Self-Supervised Generation of Spatial Audio for 360° Video. NeurIPS
2018. https://arxiv.org/abs/1809.02587
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data import ambisonics
from avssl.data.dataset import ClipDataset
from avssl.encoders import ResNet
from avssl.encoders.panorama import circular_width
from avssl.methods.audiovisual.streams import AlignedClips
from avssl.methods.audiovisual.unet import SpectrogramUNet
from avssl.methods.base import Method, measured
from avssl.methods.dense import MapHead
from avssl.methods.distributed import drawn
from avssl.methods.losses import inner_products

Localiser = Literal["attention", "mlp"]
CHANNELS = 4
LEAST = 1e-3  # root mean square of W to which quieter sounds are not amplified
POOLED = (4, 8)  # cells over which the mlp sees the picture
KEYS = 32  # width of the attention


class Spatial(NamedTuple):
    """What is predicted of a clip.

    Attributes:
        channels: ``[M, 3, F, T]`` complex spectra of Y, Z and X.
        heard: ``[M, 4, F, T]`` complex spectra of the recording.
        weights: ``[M, K, 3, T]`` of the tracks in Y, Z and X.
        cells: ``[M, K, t, h, w]`` attention at each of t frames, or None.
    """

    channels: Tensor
    heard: Tensor
    weights: Tensor
    cells: Tensor | None


class SpatialAudio(Method):
    """Predict from mono sound and a panorama the channels that say where the sound comes from.

    Heard is the channel W of first-order ambisonics; the recording's own Y, Z and X are the target. A U-Net separates W
    into K tracks by masks; each track has a weight for each channel at each moment, and the channels are the weighted
    sums of the tracks (section 4.1, "separation" and "localization"). The loss is the squared difference of the spectra
    (25 ms windows that overlap by half), relative to the power of W.

    Weights follow from the frame, the change to the next frame and the sound: by an MLP from all of them, as in the
    paper; or by attention: each track attends to the cells of the panorama, and its weights are the mean of their
    directions, shortened where it attends to none. A track then comes from where something is seen.

    Panoramas are padded by their other side. In training all are turned by a random angle, pictures and sound alike.

    Metrics: ``direction``, one minus the angle of the predicted from the true intensity vector, in half turns, where
    there is sound; chance is 0.5, a right angle. ``fidelity``, 1 / (1 + the error of the spectra relative to silence);
    chance is 0.5, silence.

    The paper's second stream sees optical flow, here the difference to the next frame; it predicts the middle 0.1 s of
    1 s at 48 kHz and adds a bias to each channel, here all is predicted, and without bias; its encoders are from
    ImageNet.

    Args:
        encoder: of single frames; it is kept.
        motion_encoder: of the differences to the next frame.
        sampler: asks for four channels.
        localiser: ``"attention"`` or ``"mlp"``.
        tracks: K (paper: 32).
        width: channels of the U-Net's first level (paper: 32).
        hidden: width of the MLP's hidden layers (paper: 512), and of the head over the frames' maps.
        rate: sampling rate of the sound in Hz.
    """

    encoder: ResNet
    sampler: AlignedClips
    frames_only = True
    caption = "the channels Y, Z and X"

    def __init__(
        self,
        encoder: ResNet,
        motion_encoder: ResNet,
        sampler: AlignedClips | None = None,
        localiser: Localiser = "attention",
        tracks: int = 8,
        width: int = 8,
        hidden: int = 64,
        rate: int = 16000,
    ) -> None:
        super().__init__(encoder, sampler or AlignedClips(num_frames=5, step=0.2, channels=CHANNELS))
        if self.sampler.channels != CHANNELS or self.sampler.num_frames < 2 or self.sampler.sound is not None:
            raise ValueError(
                f"SpatialAudio needs 4 channels, 2 frames or more, and their own sound, got {self.sampler}"
            )
        self.motion_encoder, self.localiser, self.tracks, self.rate = motion_encoder, localiser, tracks, rate
        self.seen, self.moved = MapHead(encoder, KEYS, hidden), MapHead(motion_encoder, KEYS, hidden)
        for network in (encoder, motion_encoder, self.seen, self.moved):
            circular_width(network)
        self.unet = SpectrogramUNet(tracks, width)
        if localiser == "attention":
            self.queries = nn.Linear(self.unet.num_features, tracks * (KEYS + 1))  # and the logit of attending to none
        else:
            features = KEYS * math.prod(POOLED) + self.unet.num_features
            self.weights = nn.Sequential(
                *(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()),
                nn.Linear(hidden, tracks * 3),
            )

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N clips."""
        video, sound = clips.video, self.sounds(clips)
        if self.training:
            share = drawn(lambda count: torch.rand(count, device=video.device), len(video))
            columns = (share * video.shape[-1]).floor()
            sound = ambisonics.turned(sound, columns * (2 * math.pi / video.shape[-1]))
            video = ambisonics.rolled(video, columns.long())
        found = self.predict(video.flatten(0, 1), sound.flatten(0, 1))
        true = found.heard[:, 1:]
        power = found.heard[:, 0].abs().square().sum((1, 2))  # [M]
        loss = ((found.channels - true).abs().square().sum((1, 2, 3)) / power.clamp(min=1e-6)).mean()
        with torch.no_grad():
            heard = ambisonics.loud(found.heard)  # [M, T]
            mine = ambisonics.intensity(torch.cat([found.heard[:, :1], found.channels], 1))
            away = ambisonics.angles(mine, ambisonics.intensity(found.heard))  # [M, T]
            angle = (away * heard).sum(1) / heard.sum(1).clamp(min=1)
            error = ambisonics.stft_error(found.channels, true)
        return measured(clips, loss, direction=(1 - angle / 180, 0.5), fidelity=(1 / (1 + error), 0.5))

    def sounds(self, clips: Clips) -> Tensor:
        """Return the sound ``[B, N, 4, S]``, amplified so that W is equally loud in all clips.

        Raises:
            ValueError: if there are no four channels, or their sampling rate is another one.
        """
        if clips.audio is None or clips.audio.ndim != 4 or clips.audio.shape[2] != CHANNELS:
            got = None if clips.audio is None else list(clips.audio.shape)
            raise ValueError(f"SpatialAudio needs sound [B, N, 4, S], got {got}: set sampler.channels to 4")
        rate = clips.audio.shape[3] / self.sampler.heard
        if abs(rate / self.rate - 1) > 0.01:
            raise ValueError(
                f"the sound has {rate:.0f} samples per second, SpatialAudio expects {self.rate}: "
                f"set data.audio_rate to {self.rate}, or the method's rate to that of the sound"
            )
        return levelled(clips.audio)

    def predict(self, video: Tensor, sound: Tensor) -> Spatial:
        """Predict from normalised panoramas ``[M, t, 3, H, W]`` and W, the first of the channels ``[M, 4, S]``."""
        heard = ambisonics.spectra(sound, self.rate)  # [M, 4, F, T]
        masks, says = self.unet(heard[:, 0].abs())  # [M, K, F, T], [M, D, T / 16]
        frames = video.shape[1]
        says = F.interpolate(says, size=frames, mode="linear").transpose(1, 2)  # [M, t, D]
        change = video[:, 1:] - video[:, :-1]
        change = torch.cat([change, change[:, -1:]], 1)  # [M, t, 3, H, W], to the next frame
        maps = self.seen(self.encoder.stages(video)) + self.moved(self.motion_encoder.stages(change))
        maps = maps.unflatten(0, (-1, frames))  # [M, t, KEYS, h, w]
        cells = None
        if self.localiser == "attention":
            weights, cells = self._attended(maps, says)
        else:
            pooled = F.adaptive_avg_pool2d(maps.flatten(0, 1), POOLED).flatten(1).unflatten(0, (-1, frames))
            weights = self.weights(torch.cat([pooled, says], 2)).unflatten(2, (self.tracks, 3))  # [M, t, K, 3]
        weights = F.interpolate(weights.float().flatten(2).transpose(1, 2), size=heard.shape[3], mode="linear")
        weights = weights.unflatten(1, (self.tracks, 3))  # [M, K, 3, T]
        mixed = torch.einsum("mkct,mkft->mcft", weights, masks)  # what each moment and frequency has of each direction
        return Spatial(mixed * heard[:, :1], heard, weights, cells)

    def _attended(self, maps: Tensor, says: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights ``[M, t, K, 3]`` and attention ``[M, K, t, h, w]``."""
        height, width = maps.shape[-2:]
        queries = self.queries(says).float().unflatten(2, (self.tracks, KEYS + 1))  # [M, t, K, KEYS + 1]
        logits = inner_products(queries[..., :-1], maps.flatten(3).transpose(2, 3)) / KEYS**0.5  # [M, t, K, h w]
        none = queries[..., -1:] + math.log(height * width)  # as much as all cells at first
        share = torch.cat([logits, none], 3).softmax(3)[..., :-1]
        ways = ambisonics.rays(height, width, maps.device).flatten(1)  # [3, h w]
        return share @ ways.T, share.unflatten(3, (height, width)).transpose(1, 2)

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if a recording has no four channels, as far as the first hundred tell."""
        for row in training.kept[:100].tolist():
            info = training.videos[row]
            channels = info.audio.channels if info.audio else 0
            if channels < CHANNELS:
                raise ValueError(
                    f"{info.place}: its sound has {channels} channels, SpatialAudio needs the four of first-order "
                    "ambisonics (ACN, SN3D): leave it out of the collection"
                )

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return where the sound comes from over each frame: in the recording, and as predicted."""
        found = self.predict(clips.video.flatten(0, 1), self.sounds(clips).flatten(0, 1))
        mine = torch.cat([found.heard[:, :1], found.channels], 1)
        both = {"target": found.heard, "prediction": mine}
        rgb = clips.rgb.flatten(0, 1)
        return {name: heat(rgb, part).unflatten(0, clips.video.shape[:2]) for name, part in both.items()}


def levelled(sound: Tensor) -> Tensor:
    """Amplify ``[..., 4, S]`` so that the root mean square of W is 0.1, unless it is nearly silent."""
    level = sound[..., :1, :].square().mean(-1, keepdim=True).sqrt()
    return 0.1 * sound / level.clamp(min=LEAST)


def heat(rgb: Tensor, spectrum: Tensor) -> Tensor:
    """Colour RGB ``[M, t, 3, H, W]`` red where the sound of spectra ``[M, 4, F, T]`` comes from at that time."""
    frames, (height, width) = rgb.shape[1], rgb.shape[-2:]
    ways = ambisonics.rays(height, width, rgb.device).flatten(1)
    flow = F.adaptive_avg_pool1d(ambisonics.intensity(spectrum), frames)  # [M, 3, t]
    flow = flow / flow.norm(dim=1).amax(1)[:, None, None].clamp(min=1e-9)
    shown = torch.einsum("mct,cp->mtp", flow, ways).clamp(min=0) ** 4  # [M, t, H W]
    shown = shown.unflatten(2, (height, width))[:, :, None]
    grey = rgb.mean(2, keepdim=True)
    red = torch.zeros_like(rgb).index_fill_(2, torch.zeros(1, dtype=torch.long, device=rgb.device), 1.0)
    return grey + shown * (red - grey)
