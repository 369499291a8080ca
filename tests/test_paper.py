"""Every paper-scale config is parsed, built and run forward at its full size, on tensors without memory or values."""

import re
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from avssl.encoders import export
from avssl.evaluation import config as evaluation
from avssl.runtime.configs import packaged
from avssl.training.config import parse
from avssl.training.unallocated import pretend, repeated, stand_in, unallocated

CONFIGS = {name: path for name, path in packaged("training").items() if name.startswith("paper/")}
PROTOCOLS = {name: path for name, path in packaged("evaluation").items() if name.startswith("paper/")}
VIDEOS, DEVICE = 2, "cuda"


def header(path):
    """Return the comment lines before the first key."""
    return path.read_text().partition("\nname:")[0]


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
    with unallocated():
        built = made.instantiate(parsed)
    method, mode = built.method.train(), FakeTensorMode()
    item = stand_in(method, built.data.transform.size, built.data.audio_rate)
    pretend(method, mode, DEVICE)
    clips = repeated(item, VIDEOS, mode, DEVICE)
    with mode, torch.no_grad():
        out = method(clips.normalised(*torch.empty(2, 3, device=DEVICE)))
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
