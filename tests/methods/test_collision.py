import pytest
import torch
from sklearn.metrics import roc_auc_score

from avssl.clips import Clips
from avssl.encoders import FrameStack
from avssl.labels import Crashes
from avssl.methods import CollisionAhead
from avssl.methods.temporal.collision_ahead import BeforeActions, ranked


def test_the_mean_rank_is_the_area_under_the_curve_of_what_is_known():
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(12, 3, 5, generator=rng).round(decimals=1)  # some are equal
    positive = torch.rand(12, 3, 5, generator=rng) < torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0])
    known = torch.rand(12, 3, 1, generator=rng).expand(-1, -1, 5) < 0.8
    found = ranked(scores + positive, positive, known)
    for step in range(4):
        mask = known[..., step]
        area = roc_auc_score(positive[..., step][mask], (scores + positive)[..., step][mask])
        assert found[..., step].mean().item() == pytest.approx(area, abs=1e-6)
    assert (found[..., 4] == 0.5).all()  # all have collided


def test_what_was_recorded_after_a_crash_and_while_backing_up_changes_nothing():
    torch.manual_seed(0)
    method = CollisionAhead(FrameStack(8), BeforeActions(clips=2, horizon=4), width=8, hidden=16).eval()
    state = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [-1, -1, -1, -1], [0, 1, 1, 1]]).view(2, 2, 4)
    steering = torch.rand(2, 2, 4) * 2 - 1

    def loss(ways):
        torch.manual_seed(1)
        target = torch.stack([ways, state.float()], -1)
        return method(Clips(video, torch.zeros(2, 2, 4), target=target))["loss"]

    video = torch.randn(2, 2, 4, 3, 36, 64)
    changed = steering.clone()
    changed[0, 0, 3], changed[1, 0], changed[1, 1, 2:] = 0.9, 0.9, 0.9
    torch.testing.assert_close(loss(steering), loss(changed))
    changed[0, 0, 2] += 0.5  # of the step in which it crashes
    assert not torch.allclose(loss(steering), loss(changed))


def test_a_labeller_of_other_steps_is_refused():
    with pytest.raises(ValueError, match=r"sampler \(16, 0.25\) and labeller \(8, 0.25\) differ"):
        CollisionAhead(FrameStack(8), labeller=Crashes(horizon=8))
