"""The blocks of networks of several families, in order."""

import pytest
import torch
import torchvision
from torch import nn

from avssl.encoders import R3D, ResNet, ViT
from avssl.encoders.blocks import blocks, depths


def huggingface():
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}
    return transformers.VideoMAEModel(transformers.VideoMAEConfig(image_size=16, patch_size=8, num_frames=2, **small))


@pytest.mark.parametrize(
    ("make", "count", "kind"),
    [
        (lambda: ViT(64, 1), 1, "Block"),
        (lambda: ViT(64, 3), 3, "Block"),
        (lambda: ResNet(18, 8), 8, "BasicBlock"),
        (lambda: R3D(8), 8, "BasicBlock"),
        (torchvision.models.video.mvit_v2_s, 16, "MultiscaleBlock"),
        (torchvision.models.video.swin3d_t, 15, "PatchMerging|SwinTransformerBlock"),
        (huggingface, 3, "VideoMAELayer"),
    ],
)
def test_blocks_and_depths(make, count, kind):
    with torch.device("meta"):
        network = make()
    found = blocks(network)
    assert len(found) == count
    assert "|".join(sorted({type(block).__name__ for block in found})) == kind
    depth = depths(network)
    assert list(depth) == [name for name, _ in network.named_parameters()]
    assert set(depth.values()) >= set(range(count + 1))
    for place, block in enumerate(found, 1):
        names = {id(parameter) for parameter in block.parameters()}
        assert {depth[name] for name, parameter in network.named_parameters() if id(parameter) in names} == {place}


def test_what_is_around_the_blocks():
    depth = depths(ViT(64, 2))
    assert (depth["embed.weight"], depth["blocks.norm.weight"]) == (0, 3)
    tokens = torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 8, num_classes=2)
    depth = depths(tokens)
    assert (depth["class_token"], depth["encoder.pos_embedding"], depth["encoder.ln.bias"]) == (0, 0, 3)


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ValueError, match="Linear has no list of blocks: do without"):
        blocks(nn.Linear(3, 3))
