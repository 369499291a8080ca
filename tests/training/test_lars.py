import pytest
import torch

from avssl.training import LARS


def after(make, parameter, grads):
    """What an optimiser leaves of a parameter, given its gradients step by step."""
    held = torch.nn.Parameter(parameter.clone())
    optimizer = make([held])
    for grad in grads:
        held.grad = grad.clone()
        optimizer.step()
    return held.detach()


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_a_layer_moves_by_a_share_of_its_norm_whatever_its_gradient_is(rng):
    weight, grad = torch.randn(6, 3, 2, generator=rng), torch.randn(6, 3, 2, generator=rng)
    for size in (1e-4, 1.0, 1e4):
        step = after(lambda held: LARS(held, lr=0.5, trust=0.01), weight, [size * grad]) - weight
        assert step.norm() == pytest.approx(0.5 * 0.01 * weight.norm().item(), rel=1e-3)
        assert torch.cosine_similarity(step.flatten(), -grad.flatten(), 0) > 0.9999


def test_steps_are_those_of_sgd_with_the_rescaled_gradient(rng):
    """Equation 6 with weight decay, then SGD's momentum, which is linear in the gradients that it is given."""
    weight, decay, trust = torch.randn(5, 4, generator=rng), 0.1, 0.02
    grad = torch.randn(5, 4, generator=rng)
    ratio = trust * weight.norm() / (grad.norm() + decay * weight.norm())
    for nesterov in (False, True):
        ours = after(lambda held: LARS(held, 0.3, 0.9, decay, trust, nesterov), weight, [grad])
        sgd = after(
            lambda held: torch.optim.SGD(held, 0.3, 0.9, nesterov=nesterov), weight, [ratio * (grad + decay * weight)]
        )
        torch.testing.assert_close(ours, sgd)


def test_vectors_get_the_steps_of_sgd_and_do_not_decay(rng):
    grads = list(torch.randn(4, 7, generator=rng))
    for nesterov in (False, True):
        ours = after(lambda held: LARS(held, 0.3, 0.9, 0.1, nesterov=nesterov), torch.ones(7), grads)
        sgd = after(lambda held: torch.optim.SGD(held, 0.3, 0.9, nesterov=nesterov), torch.ones(7), grads)
        torch.testing.assert_close(ours, sgd)


def test_zero_weights_start_to_move_and_zero_gradients_let_decay_alone():
    assert after(lambda held: LARS(held, 0.1), torch.zeros(2, 2), [torch.ones(2, 2)]).eq(-0.1).all()
    assert after(lambda held: LARS(held, 0.1, weight_decay=0.0), torch.ones(2, 2), [torch.zeros(2, 2)]).eq(1).all()


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"LARS.momentum is 1.5"):
        LARS([torch.nn.Parameter(torch.ones(1))], momentum=1.5)
