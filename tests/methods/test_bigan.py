import pytest
import torch

from avssl.clips import Clips
from avssl.encoders import Critic, ResNet
from avssl.methods import BiGAN
from avssl.methods.frame.bigan import turns_of
from avssl.pixels import MEAN, STD


def made(**options):
    torch.manual_seed(0)
    return BiGAN(ResNet(18, 8), Critic(8), width=8, size=16, codes=6, hidden=16, **options).eval()


def clips():
    pixels = torch.randint(0, 256, (4, 2, 1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Clips(pixels, torch.zeros(4, 2, 1)).normalised(torch.tensor(MEAN), torch.tensor(STD))


def gradients(**options):
    method = made(**options)
    torch.manual_seed(2)
    method(clips())["loss"].backward()
    return {name: weight.grad for name, weight in method.named_parameters()}


@pytest.fixture(scope="module")
def both():
    return gradients()


def same(first, second, players):
    names = [name for name in first if name.split(".")[0] in players]
    assert names
    return all(torch.equal(first[name], second[name]) for name in names)


def test_each_player_takes_the_step_of_its_own_loss(both):
    critic, others = ("critic", "turn"), ("generator",)
    paid_more = gradients(turns_drawn=3.0)  # of the generator's loss alone
    assert same(both, paid_more, critic)
    assert not same(both, paid_more, others)
    told_more = gradients(turns_real=3.0)  # of the critic's loss alone
    assert same(both, told_more, ("generator", "encoder", "inferred"))
    assert not same(both, told_more, critic)


def test_a_step_of_the_generator_deceives_the_critic_and_one_of_the_critic_tells_better(both):
    z, given = 2 * torch.rand(64, 6, generator=torch.Generator().manual_seed(3)) - 1, clips()

    def verdicts(moved):
        method = made()
        with torch.no_grad():
            for name, weight in method.named_parameters():
                if name.split(".")[0] in moved:
                    weight -= 0.05 * both[name] / both[name].norm().clamp(min=1e-9)
            real = given.video.flatten(0, 2)
            drawn = method.judge(method.critic(method.draw(z, given)[:, None]), z).mean()
            return drawn, method.judge(method.critic(real[:, None]), method.code(real)).mean()

    before, deceived, told = verdicts(()), verdicts(("generator",)), verdicts(("critic", "of_code", "joint", "verdict"))
    assert deceived[0] > before[0]
    assert told[1] - told[0] > before[1] - before[0]


def test_without_turns_there_is_no_head_and_no_metric():
    method = made(turns_real=0.0, stochastic=True)
    out = method(clips())
    assert "turn" not in out
    assert method.turn is None
    torch.manual_seed(0)
    first = method.code(torch.zeros(2, 3, 16, 16))
    assert not torch.equal(first, method.code(torch.zeros(2, 3, 16, 16)))  # ALI's code is drawn


def test_turns_follow_each_other_picture_by_picture():
    pictures = torch.rand(2, 3, 4, 4)
    found = turns_of(pictures)
    assert torch.equal(found[0], pictures[0])
    assert torch.equal(found[5], pictures[1].rot90(1, (-2, -1)))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="size must be 8, 16, 32 or another power of two, got 24"):
        BiGAN(ResNet(18, 8), Critic(8), size=24)
    with pytest.raises(ValueError, match=r"pictures are \(16, 16\), method.size is 32"):
        BiGAN(ResNet(18, 8), Critic(8), width=8)(clips())
