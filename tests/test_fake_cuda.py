"""A training step never waits for the GPU, asked of every config on fake CUDA tensors: no GPU is needed.

Fake tensors have a shape, a type and a device, but no values: what needs one (``.item()``, a branch on a tensor, an
index by a mask) fails by itself. What else makes the host wait is a copy to or from the device: `NoCopies` refuses it.
Only the forward pass and `Method.after_step` are asked: autograd needs a driver.
"""

import pytest
import torch
import yaml
from test_methods import CONFIGS, build, dataset_of
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from avssl.data.dataset import collate
from avssl.methods import Method
from avssl.training.module import Pretraining
from avssl.training.unallocated import pretend, repeated

AVAILABLE = torch.cuda.is_available()
BANK = {"bank": 24, "negatives": 8, "agreement": 0.5, "positives": 4}  # AVID's, in its second stage after one step
CASES = [*((path, {}) for path in CONFIGS), *((path, BANK) for path in CONFIGS if path.stem == "avid")]
WORLDS = {
    "synthetic_views": "views",
    "synthetic_depth": "depths",
    "synthetic_sphere": "spheres",
    "synthetic_arena": "arenas",
    "synthetic_face": "faces",
}


class NoCopies(TorchDispatchMode):
    """Refuse operations that copy between the host and the device, or that look for the True places of a mask."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)]
        made = [part for part in tree_leaves(out) if isinstance(part, torch.Tensor)]
        name = function.name().partition(".")[0]
        scalars = name not in ("aten::_to_copy", "aten::copy_")  # a number on the host is an argument of the kernel
        devices = {part.device.type for part in given if part.ndim or not scalars} | {part.device.type for part in made}
        assert len(devices) <= 1 or not given, f"{name} copies between host and device: {[*map(str, given)]}"
        if name == "aten::index_put_" and args[2].ndim:
            assert all(part is None or part.dtype != torch.bool for part in args[1]), "values are put at a mask"
        return out


class ShapesOfGRU(nn.GRU):
    """The shapes that a GRU gives: its own kernel asks for the version of cuDNN."""

    def forward(self, read, state=None):
        gates = read @ self.weight_ih_l0.T + self.bias_ih_l0
        new = gates.unflatten(2, (3, -1)).sum(2) @ self.weight_hh_l0[: self.hidden_size].T
        return new.tanh(), new[:, -1:].transpose(0, 1)


def step(module, clips, progress):
    with torch.autocast("cuda", dtype=torch.bfloat16), NoCopies():
        out = module(clips)
        module.method.after_step(progress)
    assert {value.device.type for value in out.values()} == {"cuda"}


@pytest.mark.parametrize(("config", "changes"), CASES, ids=[path.stem + "_bank" * bool(more) for path, more in CASES])
def test_a_step_on_a_gpu_mixes_no_devices_and_waits_for_nothing(config, changes, request, monkeypatch):
    monkeypatch.setattr(nn.GRU, "forward", ShapesOfGRU.forward)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: AVAILABLE)  # asked in each operation, with a look for NVML
    root = yaml.safe_load(config.read_text())["data"]["root"]
    world = request.getfixturevalue(WORLDS.get(root if isinstance(root, str) else root[0], "world"))
    built = build(config, world, **{f"method.init_args.{name}": value for name, value in changes.items()})
    dataset = dataset_of(built, world)
    clips = collate([dataset[0, 0]] * 2)[0]
    module = Pretraining(built.method, built.optimizer)
    mode = FakeTensorMode()
    pretend(module, mode, "cuda")
    batch = repeated(clips, len(clips), mode, "cuda")
    with mode:
        step(module, batch, 0.9)
        if type(built.method).after_step is not Method.after_step:
            step(module, batch, 1.0)  # with what the first step left: a queue, a later stage
