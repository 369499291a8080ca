import pytest
import torch
from torch import nn

from avssl.encoders.conv import Conv3d


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize(("kernel", "padding"), [((3, 3, 3), (1, 1, 1)), ((3, 1, 1), (1, 0, 0))])
def test_bfloat16_weight_gradient_is_that_of_float32(frames, kernel, padding):
    torch.manual_seed(0)
    conv = Conv3d(16, 16, kernel, padding=padding, bias=False).to(memory_format=torch.channels_last_3d)
    reference = nn.Conv3d(16, 16, kernel, padding=padding, bias=False)
    reference.load_state_dict(conv.state_dict())
    for _ in range(4):
        clips = torch.randn(4, 16, frames, 5, 5)
        poison = [torch.full((1 << size,), float("nan")) for size in range(8, 18)]
        del poison  # so that uninitialised memory is not zero by luck
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(clips.contiguous(memory_format=torch.channels_last_3d))
        grad = torch.randn(out.shape)
        conv.zero_grad()
        out.backward(grad.to(out.dtype))
        reference.zero_grad()
        reference(clips).backward(grad)
        error = (conv.weight.grad - reference.weight.grad).norm() / reference.weight.grad.norm()
        assert error < 0.02
