"""Recomputed and compiled blocks: the same results under the same names."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from avssl.encoders import R3D, ViT
from avssl.encoders.blocks import blocks
from avssl.methods import VideoMAE
from avssl.training.memory import compile_parts, recompute_blocks


class Dropping(nn.Module):
    """A block with random numbers and running statistics."""

    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.drop = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.norm(self.lin(x))).relu()


def swin():
    sizes = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": [2, 2, 2]}
    return torchvision.models.video.SwinTransformer3d([2, 4, 4], **sizes, dropout=0.2, num_classes=2)


def videomae():
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    sizes = {"image_size": 16, "patch_size": 8, "num_frames": 4, "hidden_dropout_prob": 0.2}
    network = transformers.VideoMAEModel(transformers.VideoMAEConfig(**sizes, **small))
    network.register_forward_hook(lambda module, inputs, out: out.last_hidden_state)
    return network


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Sequential(Dropping(), Dropping()), (5, 8)),
        (lambda: R3D(8), (2, 4, 3, 16, 16)),
        (lambda: ViT(64, 2, patch=8), (2, 4, 3, 16, 16)),
        (swin, (2, 3, 4, 16, 16)),
        (videomae, (2, 4, 3, 16, 16)),
    ],
)
def test_recomputed_blocks_train_the_same_and_keep_less(make, shape):
    torch.manual_seed(0)
    plain = make().train()
    held = copy.deepcopy(plain)
    recompute_blocks(held)
    found = []
    for network in (plain, held):
        sizes = []
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            out = network(torch.randn(shape))
        kept = sum(sizes)
        out.square().mean().backward()
        grads = {
            name: parameter.grad.clone() for name, parameter in network.named_parameters() if parameter.grad is not None
        }
        found.append((out.detach(), grads, copy.deepcopy(network.state_dict()), torch.rand(1), kept))
    (out, grads, state, drawn, kept), (out2, grads2, state2, drawn2, kept2) = found
    assert torch.equal(out, out2)
    assert torch.equal(drawn, drawn2)
    assert grads.keys() == grads2.keys()
    assert all(torch.equal(grad, grads2[name]) for name, grad in grads.items())
    assert all(torch.equal(tensor, state2[name]) for name, tensor in state.items())
    assert list(state) == list(state2)
    assert kept2 < 0.8 * kept


def test_compiled_blocks_are_reached_by_every_way_into_the_encoder(monkeypatch):
    calls = []

    def fake(function, *_, **__):
        return lambda *inputs, **options: calls.append(1) or function(*inputs, **options)

    monkeypatch.setattr(torch, "compile", fake)
    encoder = ViT(64, 2, patch=8)
    method, names = VideoMAE(encoder, hidden=64, depth=1), list(encoder.state_dict())
    compile_parts(method, "encoder")
    video = torch.randn(1, 4, 3, 16, 16)
    for enter in (encoder, encoder.maps, lambda v: encoder.encode(encoder.patches(v), encoder.positions(v))):
        calls.clear()
        enter(video)
        assert len(calls) == len(blocks(encoder)) == 2
    compile_parts(method, "method")
    assert method._compiled_call_impl is not None
    assert list(encoder.state_dict()) == names
