import torch

from avssl.encoders import ResNet
from avssl.encoders.panorama import circular_width


def test_turning_a_panorama_by_whole_cells_turns_the_maps_and_an_export_is_an_ordinary_network():
    torch.manual_seed(0)
    encoder, plain = ResNet(18, 8).eval(), ResNet(18, 8).eval()
    plain.load_state_dict(encoder.state_dict())
    circular_width(encoder)
    clip = torch.randn(1, 1, 3, 64, 128)
    maps = encoder.stages(clip)
    for stride, there, turned in zip((4, 8, 16, 32), maps, encoder.stages(clip.roll(32, 4)), strict=True):
        assert torch.allclose(there.roll(32 // stride, 3), turned, atol=1e-4)
    middle = maps[0][..., 12:20]  # far from the edges nothing changes
    assert torch.allclose(plain.stages(clip)[0][..., 12:20], middle, atol=1e-4)
    assert not torch.allclose(plain.stages(clip)[0][..., :1], maps[0][..., :1], atol=1e-2)
    assert encoder.config == plain.config
    assert encoder.state_dict().keys() == plain.state_dict().keys()
