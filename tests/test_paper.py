"""Every paper-scale config is parsed, built and run forward at its full size, on tensors without memory or values."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from avssl.clips import Clips
from avssl.encoders import export
from avssl.evaluation import config as evaluation
from avssl.media import AudioInfo, VideoInfo
from avssl.runtime.configs import packaged
from avssl.training.config import parse

CONFIGS = {name: path for name, path in packaged("training").items() if name.startswith("paper/")}
PROTOCOLS = {name: path for name, path in packaged("evaluation").items() if name.startswith("paper/")}
VIDEOS, DEVICE = 2, "cuda"


def header(path):
    """Return the comment lines before the first key."""
    return path.read_text().partition("\nname:")[0]


def recording():
    """Return the facts of a minute of video with sound."""
    sound, motion = AudioInfo(16000, 1, 0.0, 60.0, "aac", False), torch.ones(480)
    return VideoInfo(Path("minute.mp4"), 60.0, 30.0, (256, 340), sound, motion=motion, num_frames=1800)


def batch(shape, audio, data):
    """Return clips of N x T frames and of so many samples of sound, on a device that may be missing."""
    (clips, frames), side = shape, data.transform.size
    fields = {"times": (clips, frames)}
    if audio:
        fields |= {"audio_times": (clips, 2), "audio_valid": (clips, 2), "audio": (clips, audio)}
    kinds = {name: torch.float32 if name == "audio" else torch.float64 for name in fields}
    video = torch.empty(VIDEOS, clips, frames, 3, side, side, dtype=torch.uint8, device=DEVICE)
    made = {name: torch.empty(VIDEOS, *shape, dtype=kinds[name], device=DEVICE) for name, shape in fields.items()}
    made["index"] = torch.empty(VIDEOS, dtype=torch.int64, device=DEVICE)
    return Clips(video, **made).normalised(*torch.empty(2, 3, device=DEVICE))


def without_values(network):
    """Move a network without memory to a device that may not be there."""
    for part in network.modules():
        for values in (part._parameters, part._buffers):
            for name, tensor in values.items():
                if tensor is not None:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)
                    values[name] = nn.Parameter(fake, tensor.requires_grad) if values is part._parameters else fake
    return network


@pytest.fixture
def first_stage(monkeypatch):
    """Stand for the run of a first stage whose encoders a second one loads: new encoders of its config."""

    def load(path, kind, name):
        made, parsed = parse([str(CONFIGS[f"paper/{Path(path).name.removeprefix('paper_')}"])])
        return getattr(made.instantiate(parsed).method, name)

    monkeypatch.setattr(export, "load", load)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_paper_config_runs_forward_at_full_size(name, first_stage, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # asked for every tensor, a seventh of the time
    made, parsed = parse([name])
    with torch.device("meta"):
        built = made.instantiate(parsed)
    drawn = built.method.sampler(recording(), torch.Generator().manual_seed(0))
    span = 0.0 if drawn.audio is None else (drawn.audio[0, 1] - drawn.audio[0, 0]).item()
    with FakeTensorMode(), torch.no_grad():
        method = without_values(built.method.train())
        out = method(batch(drawn.times.shape, round(span * built.data.audio_rate), built.data))
    assert out["loss"].shape == ()
    for metric in out.keys() - {"loss"}:
        assert out[metric].shape == (VIDEOS,)
    claimed = re.search(r"^# Parameters: ([\d,]+) trained, encoder ([\d,]+)", header(CONFIGS[name]), re.MULTILINE)
    assert claimed, "the header does not give the parameters"
    trained = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    encoder = sum(parameter.numel() for parameter in method.encoder.parameters())
    assert claimed.groups() == (f"{trained:,}", f"{encoder:,}")


def test_the_header_of_a_paper_config_says_what_it_takes_and_that_it_was_not_run():
    for name, path in CONFIGS.items():
        text = path.read_text()
        assert 15 <= len(text.splitlines()) <= 45, name
        for fact in ("not run here", "GPU", "published", "# Data: ", "Published: ", f"avssl train {name}"):
            assert fact in header(path), f"{name}: {fact}"
        for protocol in re.findall(r"paper/\w+", re.sub(r"train paper/\w+", "", header(path))):
            assert protocol in PROTOCOLS or protocol in CONFIGS, f"{name} names {protocol}"


def test_protocols_of_papers_are_protocols():
    made = evaluation.parser(None)
    names = []
    for name in PROTOCOLS:
        protocol, _ = evaluation.parse(made, [name, "--run=runs/none"])
        names.append(protocol.name)
    assert names
    assert names == [name.replace("/", "_") for name in PROTOCOLS]
