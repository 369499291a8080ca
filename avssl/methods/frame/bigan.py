"""Bidirectional generative adversarial networks, with a discriminator that also tells turns.

J. Donahue, P. Krähenbühl, T. Darrell: Adversarial Feature Learning. ICLR 2017 (BiGAN). https://arxiv.org/abs/1605.09782
V. Dumoulin et al.: Adversarially Learned Inference. ICLR 2017 (ALI). https://arxiv.org/abs/1606.00704
T. Chen, X. Zhai, M. Ritter, M. Lucic, N. Houlsby: Self-Supervised GANs via Auxiliary Rotation Loss. CVPR 2019 (SS-GAN).
https://arxiv.org/abs/1811.11212
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Critic, Encoder
from avssl.encoders.base import Exportable
from avssl.methods.base import Method, measured
from avssl.methods.distributed import drawn
from avssl.methods.losses import identification_accuracy, squared_distances
from avssl.methods.temporal.rotation import TURNS, turned

CELLS = 8  # per side, in which pictures are compared for the metric


class BiGAN(Method):
    """A generator draws pictures x from codes z, the encoder codes pictures, and a critic tells both kinds of pairs.

    The critic sees (x, E(x)) and (G(z), z); to deceive it, encoder and generator have to invert each other (BiGAN,
    section 3, equation 3). With ``stochastic``, E(x) is a sample of a normal distribution (ALI, section 2). Losses
    are logistic, and those of generator and encoder don't saturate.

    The critic also tells the turn of a quarter of the pictures, at four turns each: of real ones with weight
    ``turns_real`` in its own loss; the generator is paid, with weight ``turns_drawn``, for pictures whose turn the
    critic can tell (SS-GAN, section 3). The critic keeps features of pictures when the generator changes.

    Both players step at once with one optimiser: the critic's loss sees pictures and codes as constants, the other
    players' loss sees the critic as a constant. The loss has the value of the critic's own, as their sum says nothing.

    Metrics: ``identified``, how often G(E(x)) is nearer to its own picture than to another one of the batch, compared
    by 8 x 8 cells; chance 1/2. ``turn``, whether the turn of a real picture is told; chance 1/4.

    Kept are the encoder, and as ``critic`` the critic's convolutions.

    Args:
        encoder: of frames; E is a linear layer over its vector.
        critic: of frames.
        codes: numbers of z, uniform from -1 to 1 (BiGAN: 50).
        width: channels of the generator's last maps.
        size: height and width of the pictures: 8, 16, 32 and so on.
        hidden: units of the critic's layers over pictures and codes (BiGAN: 1024).
        turns_real: weight of the turns of real pictures (SS-GAN: 1); 0 leaves turns out.
        turns_drawn: weight of those of drawn pictures (SS-GAN: 0.2).
        stochastic: E(x) is drawn.

    Raises:
        ValueError: if the size is not 8 times a power of two.
    """

    frames_only = True
    caption = "real or drawn, and its turn"

    def __init__(
        self,
        encoder: Encoder,
        critic: Critic,
        sampler: RandomClips | None = None,
        codes: int = 50,
        width: int = 32,
        size: int = 32,
        hidden: int = 256,
        turns_real: float = 1.0,
        turns_drawn: float = 0.2,
        stochastic: bool = False,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
        doublings = (size // 4).bit_length() - 1
        if size < 8 or 4 << doublings != size:
            raise ValueError(f"BiGAN: size must be 8, 16, 32 or another power of two, got {size}")
        self.critic, self.codes, self.size, self.stochastic = critic, codes, size, stochastic
        self.turns_real, self.turns_drawn = turns_real, turns_drawn
        self.inferred = nn.Linear(encoder.num_features, 2 * codes if stochastic else codes)
        self.generator = generator(codes, width, doublings)
        self.of_code = spectral_norm(nn.Linear(codes, hidden))
        self.joint = spectral_norm(nn.Linear(critic.num_features + hidden, hidden))
        self.verdict = spectral_norm(nn.Linear(hidden, 1))
        self.turn = nn.Linear(critic.num_features, TURNS) if turns_real > 0 else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss of all players, and the metrics, over B·N·T pictures."""
        real = clips.video.flatten(0, 2)
        if real.shape[-1] != self.size or real.shape[-2] != self.size:
            raise ValueError(f"BiGAN: pictures are {tuple(real.shape[-2:])}, method.size is {self.size}")
        code = self.code(real)
        z = drawn(lambda count: torch.rand(count, len(real) // len(clips), self.codes, device=real.device), len(clips))
        z = 2 * z.flatten(0, 1) - 1
        fake = self.draw(z, clips)
        seen = self.critic(real[:, None])
        own = F.softplus(-self.judge(seen, code.detach())).mean()
        own = own + F.softplus(self.judge(self.critic(fake.detach()[:, None]), z)).mean()
        with held(self.critic, self.of_code, self.joint, self.verdict):
            other = F.softplus(self.judge(seen.detach(), code)).mean()
            other = other + F.softplus(-self.judge(self.critic(fake[:, None]), z)).mean()
        metrics: dict[str, tuple[Tensor, Tensor | float]] = {}
        if self.turn is not None:
            some = slice(0, None, 4)  # a quarter, at four turns each
            scores = self.turn(self.critic(turns_of(real[some])[:, None])).float()
            answer = torch.arange(TURNS, device=real.device).repeat(len(scores) // TURNS)
            own = own + self.turns_real * F.cross_entropy(scores, answer)
            with held(self.critic, self.turn):
                told = self.turn(self.critic(turns_of(fake[some])[:, None])).float()
                other = other + self.turns_drawn * F.cross_entropy(told, answer)
            right = (scores.argmax(1) == answer).float().mean()
            metrics["turn"] = right.expand(len(clips)), 1 / TURNS
        with torch.no_grad():
            again = self.draw(code, clips)
            shown, given = (F.adaptive_avg_pool2d(part.float(), CELLS).flatten(1) for part in (again, real))
            metrics["identified"] = identification_accuracy(squared_distances(shown, given)), 0.5
        return measured(clips, own + other - other.detach(), **metrics)

    def code(self, pictures: Tensor) -> Tensor:
        """Return E(x) ``[M, codes]`` float32 of normalised pictures ``[M, 3, S, S]``."""
        found = self.inferred(self.encoder(pictures[:, None])).float()
        if not self.stochastic:
            return found
        mean, spread = found.chunk(2, 1)
        return mean + (0.5 * spread).exp() * torch.randn_like(mean)

    def draw(self, codes: Tensor, clips: Clips) -> Tensor:
        """Return normalised pictures ``[M, 3, S, S]`` float32, G(z) of codes ``[M, codes]``."""
        return clips.normalise((self.generator(codes).float() + 1) / 2)

    def judge(self, seen: Tensor, code: Tensor) -> Tensor:
        """Return logits ``[M]`` that pairs of seen pictures ``[M, D]`` and codes ``[M, codes]`` are real."""
        both = torch.cat([seen, F.leaky_relu(self.of_code(code), 0.1)], 1)
        return self.verdict(F.leaky_relu(self.joint(both), 0.1)).float().squeeze(1)

    def exports(self) -> dict[str, Exportable]:
        """Return the encoder and the critic."""
        return {"encoder": self.encoder, "critic": self.critic}

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return a picture drawn from each picture's code, and one from a random code."""
        shape = clips.video.shape[:3]
        code = self.code(clips.video.flatten(0, 2))
        parts = {"of its code": code, "of a random code": 2 * torch.rand_like(code) - 1}
        return {name: clips.denormalise(self.draw(part, clips)).unflatten(0, shape) for name, part in parts.items()}


def generator(codes: int, width: int, doublings: int) -> nn.Sequential:
    """Build a network from ``[M, codes]`` to pictures ``[M, 3, S, S]`` in [-1, 1], S = 4 * 2 ** doublings."""
    channels = width * 2**doublings
    layers: list[nn.Module] = [nn.Linear(codes, 16 * channels), nn.Unflatten(1, (channels, 4, 4))]
    for _ in range(doublings):
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Upsample(scale_factor=2)]
        layers.append(nn.Conv2d(channels, channels // 2, 3, padding=1))
        channels //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())


def turns_of(pictures: Tensor) -> Tensor:
    """Turn each of ``[M, 3, S, S]`` by 0, 90, 180 and 270 degrees: ``[4 M, 3, S, S]``, picture by picture."""
    return turned(pictures[:, None, None]).flatten(0, 3)


@contextmanager
def held(*networks: nn.Module) -> Iterator[None]:
    """Let no gradient reach the weights of some networks from what is computed meanwhile."""
    weights = [weight for network in networks for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
