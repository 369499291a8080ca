"""Networks at full size that take no memory and draw no weights: to count, to estimate and to check shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from avssl.clips import Clips
from avssl.media import AudioInfo, VideoInfo
from avssl.methods import Method

STAND_IN = VideoInfo(  # a recording that suits every sampler
    Path("stand-in.mp4"), 60.0, 30.0, (256, 340), AudioInfo(48000, 2, 0.0, 60.0, "aac"), motion=torch.ones(480)
)


class _OnMeta(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.empty and (kwargs or {}).get("device") is None:
            kwargs = {**(kwargs or {}), "device": "meta"}
        return function(*args, **(kwargs or {}))


@contextmanager
def unallocated() -> Iterator[None]:
    """Put the parameters of modules that are built here on the meta device; what is computed from them stays real.

    Only ``torch.empty``, from which layers make their parameters, is changed: constants, such as a filter bank, are
    computed as ever.
    """
    with _OnMeta():
        yield


def pretend(module: nn.Module, mode: FakeTensorMode, device: str = "cpu") -> None:
    """Replace, in place, every parameter and buffer of a module by a fake tensor on a device, ``"cuda"`` included."""
    made: dict[int, Tensor] = {}  # a parameter that two modules share stays one

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            with mode:
                empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
            one = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if one else empty
        return made[id(tensor)]

    kept = []  # or a number could stand for two tensors, one after the other
    for part in module.modules():
        held: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for tensors in held:
            for name, tensor in list(tensors.items()):
                if tensor is not None:
                    kept.append(tensor)
                    tensors[name] = fake(tensor)


def stand_in(method: Method, size: int, audio_rate: int, info: VideoInfo = STAND_IN) -> Clips:
    """Return one item (B = 1) as a method would get it of a video, with empty pixels and sound.

    Args:
        method: its sampler is asked for the seconds, its labeller, if it has one, for the target.
        size: height and width of the frames in pixels.
        audio_rate: samples per second of the sound.
        info: the video.
    """
    times, audio, _ = method.sampler(info, torch.Generator().manual_seed(0))
    n, t = times.shape
    video = torch.zeros(n, t, 3, size, size, dtype=torch.uint8)
    target = None if method.labeller is None else method.labeller(video, times, info)[None]
    channels = getattr(method.sampler, "channels", 1)
    own = (channels,) if channels > 1 else ()
    sound = None if audio is None else torch.zeros(1, n, *own, round(float(audio[0, 1] - audio[0, 0]) * audio_rate))
    spans = None if audio is None else audio[None]
    unlabelled, index = torch.full((1,), -1), torch.zeros(1, dtype=torch.int64)
    return Clips(video[None], times[None], sound, spans, spans, target, unlabelled, index=index)


def repeated(clips: Clips, videos: int, mode: FakeTensorMode, device: str = "cpu") -> Clips:
    """Return a batch of fake clips on a device, with the shapes of ``videos`` items like the one given."""

    def fake(tensor: Tensor) -> Tensor:
        return torch.empty((videos, *tensor.shape[1:]), dtype=tensor.dtype, device=device)

    with mode:
        return clips._map(fake)
