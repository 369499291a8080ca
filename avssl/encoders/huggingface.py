"""Video transformers in the Hugging Face format: VideoMAE, V-JEPA 2, ViViT and TimeSformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.huggingface_files import architecture, build_config, load_pretrained, pixel_statistics, read_config
from avssl.encoders.huggingface_files import transformers as library
from avssl.encoders.tokens import TokenEncoder
from avssl.encoders.weights import copied, pair


class HuggingFace(TokenEncoder):
    """A video transformer of the library transformers, its own module, from a folder that this library has written.

    Known are ``videomae``, ``vjepa2``, ``vivit`` and ``timesformer`` (the ``model_type`` in config.json), also in
    checkpoints for pretraining or classification, whose heads, decoders and predictors are left out. Of the first three
    the encoder can be given some of the tokens; TimeSformer attends along whole rows of the grid and needs all.

    Position codes of VideoMAE are fixed sines, those of ViViT and TimeSformer learnt, those of V-JEPA 2 rotary. Sines
    and learnt codes are interpolated for clips of another size than in training; TimeSformer takes only that size.
    Class tokens are left out of the maps.

    The card holds the mean and standard deviation of the folder's preprocessor_config.json and the size of training.

    Args:
        path: folder with config.json and model.safetensors, or a name on the hub if ``online``.
        online: whether a name on the hub may be downloaded.
        config: the architecture as a dictionary, the content of config.json, for new weights. An export holds it.

    Raises:
        ImportError: if transformers is not installed.
        FileNotFoundError: if there is no such folder.
        ValueError: if the network is unknown, or a tensor is missing, unexpected or of the wrong shape.
    """

    places: Tensor

    def __init__(self, path: str | None = None, online: bool = False, config: dict[str, Any] | None = None) -> None:
        found, kept = chosen("HuggingFace", path, online, config)
        kind = found["model_type"]
        if kind not in FAMILIES:
            raise ValueError(f"HuggingFace: {kind!r} is not among the video networks {', '.join(FAMILIES)}")
        super().__init__(found["hidden_size"], {"config": kept})
        self.model_type, self.family = kind, FAMILIES[kind](found)
        self.partial, self.tubelet, self.patch = self.family.partial, self.family.tubelet, self.family.patch
        self.min_clip = (self.tubelet, self.patch, self.patch)
        self.net = self.family.load(path, online) if path is not None else self.family.new(kept)
        self.register_buffer("places", self.family.fixed(self.net), persistent=False)
        if path is not None:
            self.card.update(pixel_statistics(path, online, offset=kind == "vivit"))
            self.card |= {"size": list(self.family.size), "source": {"library": "transformers", "name": kind}}

    def positions(self, clips: Tensor) -> Tensor:
        """Return each token's code ``[L, D]``, or for V-JEPA 2 its place ``[L]`` as one number (see `VJEPA2`)."""
        return self.family.positions(self.net, self.places, self.grid(clips))

    def encode(self, patches: Tensor, positions: Tensor) -> Tensor:  # noqa: D102
        if not self.partial:
            raise ValueError(
                f"HuggingFace: {self.model_type} can't be given tokens alone, it attends along rows of the whole grid. "
                "Use a VideoMAE, V-JEPA 2 or ViViT checkpoint"
            )
        embed = self.family.projection(self.net)
        kernel = rearrange(embed.weight, "d c f p q -> d (f p q c)")
        return self.family.encode(self.net, F.linear(patches, kernel, embed.bias), positions)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        if self.partial:
            return super().maps(clips)
        self.check_clips(clips)
        return self.family.maps(self.net, clips)

    def original_state_dict(self) -> dict[str, Tensor]:
        """Return the weights under the names of transformers' model (`Family.model`), without heads."""
        return copied(self.net, self.family.prefix)


def chosen(
    name: str, path: str | None, online: bool, config: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration of a folder, or the one given instead: all of it, and what an export keeps.

    Raises:
        ValueError: unless there is exactly one.
    """
    if (path is None) == (config is None):
        raise ValueError(f"{name}: give path (a folder, for its weights) or config (for new weights), and not both")
    if config is not None:
        return build_config(config).to_dict(), architecture(config)
    found = read_config(str(path), online)
    return found, architecture(found)


class Family:
    """What differs between networks: where things are in transformers' modules.

    Args:
        config: the configuration.

    Attributes:
        model: transformers' class.
        dropped: prefixes of the weights of heads, decoders and predictors.
        prefix: what the names of the encoder's weights begin with in the class.
        options: arguments of the class.
        trained: frames, height and width of the clips of training.
    """

    model: ClassVar[str]
    dropped: ClassVar[tuple[str, ...]]
    prefix: ClassVar[str] = ""
    options: ClassVar[dict[str, Any]] = {}
    partial: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.tubelet, self.patch = config["tubelet_size"], whole("patch_size", config["patch_size"])
        self.frames, self.size = config["num_frames"], pair(config["image_size"])

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of tokens of a clip of training in time, height and width."""
        return self.frames // self.tubelet, self.size[0] // self.patch, self.size[1] // self.patch

    def load(self, path: str, online: bool) -> Any:
        """Return the encoder's module with weights."""
        return self.encoder(load_pretrained(self.model, path, online, self.dropped, **self.options))

    def new(self, config: Mapping[str, Any]) -> Any:
        """Return the encoder's module with new weights."""
        return self.encoder(getattr(library(), self.model)(build_config(config), **self.options).train())

    def encoder(self, model: Any) -> Any:
        """Return the part of the model that is the encoder."""
        return model

    def fixed(self, net: Any) -> Tensor | None:
        """Return position codes ``[L, D]`` that are no weights."""
        return None

    def projection(self, net: Any) -> nn.Conv3d:
        """Return the convolution that makes tokens of pixels."""
        return net.embeddings.patch_embeddings.projection

    def positions(self, net: Any, fixed: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Return each token's position for `encode`."""
        raise NotImplementedError

    def encode(self, net: Any, tokens: Tensor, positions: Tensor) -> Tensor:
        """Encode tokens ``[B, V, D]`` without positions."""
        raise NotImplementedError

    def maps(self, net: Any, clips: Tensor) -> Tensor:
        """Encode whole clips; see `HuggingFace.maps`."""
        raise NotImplementedError


class VideoMAE(Family):
    """VideoMAE (Tong et al., NeurIPS 2022): sines over the number of the token in the clip."""

    model = "VideoMAEModel"
    dropped = ("encoder_to_decoder.", "mask_token", "decoder.", "fc_norm.", "classifier.")

    def fixed(self, net: Any) -> Tensor:  # noqa: D102
        return net.embeddings.position_embeddings[0]

    def positions(self, net: Any, fixed: Tensor, grid: tuple[int, int, int]) -> Tensor:  # noqa: D102
        return resized(fixed, self.grid, grid)

    def encode(self, net: Any, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: D102
        found = net.encoder(tokens + positions).last_hidden_state
        return found if net.layernorm is None else net.layernorm(found)


class VJEPA2(Family):
    """V-JEPA 2 (Assran et al., 2025): rotary positions in every layer.

    transformers' layers are told a token's place as one number, t g^2 + y g + x with g tokens to a row of the clips of
    training. Here g is `ROW` in all layers, so that frames may have any size; a call of ``net`` itself is then wrong.
    """

    ROW: ClassVar[int] = 1 << 12
    model = "VJEPA2Model"
    dropped = ("predictor.", "pooler.", "classifier.")
    prefix = "encoder."

    def __init__(self, config: Mapping[str, Any]) -> None:
        names = {"num_frames": config["frames_per_clip"], "image_size": config["crop_size"]}
        super().__init__({**config, **names})

    def encoder(self, model: Any) -> Any:  # noqa: D102
        for layer in model.encoder.layer:
            layer.attention.grid_size = self.ROW
        return model.encoder

    def projection(self, net: Any) -> nn.Conv3d:  # noqa: D102
        return net.embeddings.patch_embeddings.proj

    def positions(self, net: Any, fixed: Tensor, grid: tuple[int, int, int]) -> Tensor:  # noqa: D102
        device = net.layernorm.weight.device
        t, y, x = (torch.arange(size, device=device) for size in grid)
        return ((t[:, None, None] * self.ROW + y[:, None]) * self.ROW + x).flatten()

    def encode(self, net: Any, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: D102
        places = positions if positions.ndim == 2 else positions[None]  # [B or 1, V]
        for layer in net.layer:
            tokens = layer(tokens, places)[0]
        return net.layernorm(tokens)


class ViViT(Family):
    """ViViT (Arnab et al., ICCV 2021), joint attention over space and time: learnt positions and a class token."""

    model = "VivitModel"
    dropped = ("pooler.", "classifier.")
    options: ClassVar[dict[str, Any]] = {"add_pooling_layer": False}

    def __init__(self, config: Mapping[str, Any]) -> None:
        tubelet, *patch = config["tubelet_size"]
        super().__init__({**config, "tubelet_size": tubelet, "patch_size": patch})

    def positions(self, net: Any, fixed: Tensor, grid: tuple[int, int, int]) -> Tensor:  # noqa: D102
        return resized(net.embeddings.position_embeddings[0, 1:], self.grid, grid)

    def encode(self, net: Any, tokens: Tensor, positions: Tensor) -> Tensor:  # noqa: D102
        first = (net.embeddings.cls_token + net.embeddings.position_embeddings[:, :1]).expand(len(tokens), -1, -1)
        x = net.embeddings.dropout(torch.cat([first, tokens + positions], 1))
        for layer in net.layers:
            x = layer(x)
        return net.layernorm(x)[:, 1:]


class TimeSformer(Family):
    """TimeSformer (Bertasius et al., ICML 2021): attention over time and over space in turn; one frame per token."""

    model = "TimesformerModel"
    dropped = ("classifier.",)
    partial = False

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__({**config, "tubelet_size": 1})

    def maps(self, net: Any, clips: Tensor) -> Tensor:  # noqa: D102
        needed, got = (self.frames, *self.size), (clips.shape[1], *clips.shape[3:])
        if got != needed:
            raise ValueError(
                f"HuggingFace: timesformer takes clips of {needed} (frames, height, width) only, got {got}"
            )
        tokens = net(clips).last_hidden_state[:, 1:]
        t, h, w = self.grid
        return rearrange(tokens, "b (h w t) d -> b d t h w", t=t, h=h, w=w)


FAMILIES: dict[str, type[Family]] = {
    "videomae": VideoMAE,
    "vjepa2": VJEPA2,
    "vivit": ViViT,
    "timesformer": TimeSformer,
}


def resized(codes: Tensor, trained: tuple[int, int, int], grid: tuple[int, int, int]) -> Tensor:
    """Interpolate position codes ``[L, D]`` of one grid of tokens (time, height, width) linearly to another."""
    if grid == trained:
        return codes
    t, h, w = trained
    cube = rearrange(codes, "(t h w) d -> 1 d t h w", t=t, h=h, w=w)
    return rearrange(F.interpolate(cube, size=grid, mode="trilinear"), "1 d t h w -> (t h w) d")


def whole(name: str, size: int | Sequence[int]) -> int:
    """Return a size that must be the same in both directions."""
    height, width = pair(size)
    if height != width:
        raise ValueError(f"HuggingFace: {name} must be square, got {height} x {width}")
    return height
