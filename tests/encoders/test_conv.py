import pytest
import torch
from torch import nn

from avssl.encoders.conv import Conv2d, Conv3d

FLAT = [((16, size, size), 3, stride, 1) for size in (1, 2, 3) for stride in (1, 2)] + [((3, 1, 1), 7, 2, 3)]
DEEP = [((16, frames, 5, 5), 3, 1, 1) for frames in (1, 2, 3, 4)]
DEEP += [((16, frames, 5, 5), (3, 1, 1), 1, (1, 0, 0)) for frames in (1, 2, 3, 4)]
DEEP += [((16, frames, size, size), 3, 2, 1) for frames in (1, 2, 3) for size in (1, 2)]


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), FLAT + DEEP)
def test_bfloat16_gives_the_result_and_the_gradients_of_float32(shape, kernel, stride, padding):
    torch.manual_seed(0)
    ours, theirs, layout = (
        (Conv2d, nn.Conv2d, torch.channels_last) if len(shape) == 3 else (Conv3d, nn.Conv3d, torch.channels_last_3d)
    )
    conv = ours(shape[0], 16, kernel, stride, padding, bias=False).to(memory_format=layout)
    reference = theirs(shape[0], 16, kernel, stride, padding, bias=False)
    reference.load_state_dict(conv.state_dict())
    for _ in range(4):
        clips = torch.randn(8, *shape)
        poison = [torch.full((1 << size,), float("nan")) for size in range(8, 18)]
        del poison  # so that uninitialised memory is not zero by luck
        mine, plain = (clips.clone().requires_grad_() for _ in "ab")
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(mine.contiguous(memory_format=layout))
        expected = reference(plain)
        assert out.dtype == torch.bfloat16
        grad = torch.randn(out.shape)
        conv.zero_grad()
        out.backward(grad.to(out.dtype))
        reference.zero_grad()
        expected.backward(grad)
        pairs = ((out, expected), (mine.grad, plain.grad), (conv.weight.grad, reference.weight.grad))
        for found, right in pairs:
            assert (found.float() - right).norm() < 0.02 * right.norm()
