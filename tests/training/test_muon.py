import pytest
import torch

from avssl.recipe.muon import orthogonal
from avssl.training import Muon


def trained(make, parameters, steps=5):
    """What a few steps on a fixed quadratic leave of some parameters."""
    torch.manual_seed(0)
    held = [torch.nn.Parameter(torch.randn(shape)) for shape in parameters]
    wanted = [torch.randn_like(parameter) for parameter in held]
    optimizer = make(held)
    for _ in range(steps):
        optimizer.zero_grad()
        sum((parameter - goal).square().sum() for parameter, goal in zip(held, wanted, strict=True)).backward()
        optimizer.step()
    return [parameter.detach() for parameter in held]


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (1, 5), (16, 16)])
def test_steps_are_nearly_orthogonal_and_point_where_the_gradient_does(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonal(matrix) @ v.T
    seen = inside.diagonal()
    assert ((seen > 0.65) & (seen < 1.25))[values > 0.05 * values.max()].all()
    assert (inside - seen.diag()).abs().max() < 1e-3
    assert orthogonal(torch.zeros(shape)).eq(0).all()


def test_matrices_get_the_steps_of_torchs_muon():
    shapes = [(12, 40), (40, 12)]
    start = trained(lambda held: torch.optim.SGD(held, lr=0.0), shapes)
    ours = trained(lambda held: Muon(held, lr=0.05, weight_decay=0.1), shapes)
    torchs = trained(
        lambda held: torch.optim.Muon(held, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), shapes
    )
    for begin, one, other in zip(start, ours, torchs, strict=True):
        assert (one - other).norm() < 0.03 * (other - begin).norm()  # theirs is computed in bfloat16


def test_vectors_get_the_steps_of_adam_and_do_not_decay():
    ours = trained(lambda held: Muon(held, lr=0.05, weight_decay=0.1), [(7,), ()])
    adam = trained(lambda held: torch.optim.Adam(held, lr=0.05), [(7,), ()])
    for one, other in zip(ours, adam, strict=True):
        torch.testing.assert_close(one, other)


def test_a_kernel_is_a_matrix_of_its_outputs():
    [kernel] = trained(lambda held: Muon(held, lr=0.05), [(6, 3, 2, 2)])
    [matrix] = trained(lambda held: Muon(held, lr=0.05), [(6, 12)])
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_it_goes_on_from_its_state():
    def steps(count, parameter, optimizer):
        for _ in range(count):
            optimizer.zero_grad()
            (parameter @ parameter.T).square().sum().backward()
            optimizer.step()

    parameters = [torch.nn.Parameter(torch.eye(4, 9)) for _ in range(2)]
    first, second = (Muon([parameter]) for parameter in parameters)
    steps(6, parameters[0], first)
    steps(3, parameters[1], second)
    third = Muon([parameters[1]])
    third.load_state_dict(second.state_dict())
    steps(3, parameters[1], third)
    assert torch.equal(*parameters)
