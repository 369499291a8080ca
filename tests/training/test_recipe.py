"""What a recipe does to a run: accumulation, averages, clipping, and that it stops before it keeps a bad number."""

from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch._subclasses.fake_tensor import FakeTensorMode

from avssl.clips import Clips
from avssl.data import Augment
from avssl.encoders import R3D, ResNet, ViT, load_encoder, weights_hash
from avssl.methods import BYOL, RotNet, VideoMAE
from avssl.methods.momentum import MomentumCopy
from avssl.recipe.averaging import Average
from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints, latest, steps_saved
from avssl.recipe.finite import LossWatch
from avssl.training import LARS, Data, Recipe, pretrain
from avssl.training.module import Pretraining
from avssl.training.sheet import load_method

TRAINER = {"accelerator": "cpu", "precision": "32-true", "log_every_n_steps": 1}


class Resident(list):
    """Batches in memory."""


def clips(videos=4, parts=1, num_frames=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    video = torch.randint(0, 256, (videos, parts, num_frames, 3, 16, 16), dtype=torch.uint8, generator=rng)
    return Clips(video, torch.arange(num_frames).expand(videos, parts, -1).double())


def fit(method, batches, folder, optimizer=partial(torch.optim.SGD, lr=0.1), recipe=Recipe(), trainer=(), **options):
    """Train on batches in memory, with the callback that saves; return the module."""
    module = Pretraining(method, optimizer, "constant", recipe=recipe, **options)
    engine = L.Trainer(
        **{**TRAINER, "max_steps": len(batches) // recipe.accumulate, **dict(trainer)},
        accumulate_grad_batches=recipe.accumulate,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        plugins=[VerifiedCheckpoints()],
        callbacks=[Checkpointing(folder, 0.0)],
    )
    engine.fit(module, Resident(batches))
    return module


def tiny_mae():
    torch.manual_seed(0)
    return VideoMAE(ViT(64, 1, patch=8), hidden=64, depth=1)


def test_accumulated_batches_train_like_one_large_batch(tmp_path, monkeypatch):
    """RotNet's loss averages over the pictures, and layer normalisation keeps them apart; in float64."""
    forward = RotNet.forward

    def doubled(self, clips):
        with patch.object(torch.Tensor, "float", torch.Tensor.double), patch.object(torch, "float32", torch.float64):
            return forward(self, clips)

    monkeypatch.setattr(RotNet, "forward", doubled)

    def trained(passes):
        torch.manual_seed(0)
        method, size = RotNet(ResNet(18, 8, norm="layer")), 32 // passes
        whole = [clips(32, 1, 1, seed) for seed in range(4)]
        parts = [
            Clips(batch.video[start : start + size], batch.times[start : start + size])
            for batch in whole
            for start in range(0, 32, size)
        ]
        recipe = Recipe(accumulate=passes, lr_per=64, lr_start=0.05)
        optimizer = partial(torch.optim.SGD, lr=0.2, momentum=0.9)
        fit(method, parts, tmp_path, optimizer, recipe, {"precision": "64-true"}, warmup="3 steps", batch_size=size)
        return method.state_dict()

    torch.manual_seed(0)
    start, once, parts = RotNet(ResNet(18, 8, norm="layer")).state_dict(), trained(1), trained(4)
    for name, value in once.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, parts[name], rtol=1e-11, atol=1e-12)
        assert (value - start[name]).abs().max() > 1e-3


class Stop(Exception):
    pass


def small_byol():
    torch.manual_seed(0)
    method = BYOL(R3D(8), hidden=16, out=8)
    method.sampler = type(method.sampler)(2, num_frames=4, step=0.1)
    return method


def test_a_run_with_the_whole_recipe_is_killed_within_a_step_and_resumed(world, tmp_path, monkeypatch):
    recipe = Recipe(
        lr_start=0.01, lr_end=0.01, stretch=1.25, layer_decay=0.7, decay_vectors=False, decay_end=0.1, ema="linear",
        clip_after_warmup=True, accumulate=2, average=0.9, checkpoint_activations=True,
    )  # fmt: skip

    def start(name):
        method = small_byol()
        data = Data(Augment(size=16), root=str(world), batch_size=4, workers=0, rounds=1)
        trainer = {**TRAINER, "gradient_clip_val": 1.0}
        pretrain(
            name,
            method,
            data,
            partial(LARS, lr=0.5, weight_decay=0.01),
            trainer,
            warmup="1 step",
            epochs=2,  # of 20 videos, 8 for each step
            recipe=recipe,
            runs=str(tmp_path),
            checkpoint_minutes=0.0,
        )

    start("whole")
    monkeypatch.setattr(Pretraining, "on_train_batch_start", stop_in_the_middle_of_a_step, raising=False)
    with pytest.raises(Stop):
        start("broken")
    monkeypatch.undo()
    assert latest(tmp_path / "broken/checkpoints").stem == "step-00000002"
    start("broken")
    for part in ("encoder", "encoder_raw"):
        one, other = (load_encoder(tmp_path / name / part) for name in ("whole", "broken"))
        assert weights_hash(one) == weights_hash(other)
    assert weights_hash(load_encoder(tmp_path / "whole")) != weights_hash(load_encoder(tmp_path / "whole/encoder_raw"))
    assert load_encoder(tmp_path / "whole").card["average"] == 0.9
    whole, broken = (
        torch.load(latest(tmp_path / name / "checkpoints"), weights_only=True) for name in ("whole", "broken")
    )
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, broken["state_dict"][name]), name
    again = small_byol()
    load_method(again, tmp_path / "whole")
    assert weights_hash(again.encoder) == weights_hash(load_encoder(tmp_path / "whole/encoder_raw"))
    rows = [(tmp_path / name / "metrics.csv").read_text() for name in ("whole", "broken")]
    assert rows[0] == rows[1]
    assert rows[0].count("\n") == 5
    groups = whole["optimizer_states"][0]["param_groups"]
    assert {group["spared"] for group in groups} == {True, False}
    assert all((group["weight_decay"] == 0) == group["spared"] for group in groups)


def stop_in_the_middle_of_a_step(module, batch, batch_index):
    if batch_index == 5:  # the second half of step 2
        raise Stop


@pytest.mark.parametrize("make", [lambda: R3D(8), lambda: ViT(64, 1)])
def test_the_average_is_that_of_the_weights_after_each_step(make):
    torch.manual_seed(0)
    encoder = make()
    average, seen = Average({"encoder": encoder, "again": encoder}, 0.75), []
    for step in range(8):
        with torch.no_grad():
            for tensor in encoder.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(step))
        average.follow({"encoder": encoder, "again": encoder}, step)
        seen.append({name: tensor.clone() for name, tensor in encoder.state_dict().items()})
    kept = average.networks["encoder"].state_dict()
    assert len(list(average.parameters())) == len(list(encoder.parameters()))  # one copy of what is exported twice
    for name, tensor in kept.items():
        if tensor.is_floating_point():
            expected = torch.stack([state[name] for state in seen[:4]]).mean(0)
            for state in seen[4:]:
                expected = 0.75 * expected + 0.25 * state[name]
            torch.testing.assert_close(tensor, expected)
        else:
            assert tensor == 7


def test_gradients_are_clipped_from_the_end_of_the_warm_up(tmp_path, monkeypatch):
    norms = []

    def noted(self, optimizer, *_):
        norms.append(torch.stack([p.grad.norm() for group in optimizer.param_groups for p in group["params"]]).norm())

    monkeypatch.setattr(Pretraining, "on_before_zero_grad", lambda self, optimizer: None)
    plain = torch.optim.SGD.step

    def step(self, closure=None):
        out = plain(self, closure)
        noted(None, self)
        return out

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    for after in (False, True):
        norms.clear()
        recipe = Recipe(clip_after_warmup=after)
        fit(tiny_mae(), [clips()] * 4, tmp_path, recipe=recipe, trainer={"gradient_clip_val": 1e-3}, warmup="2 steps")
        assert [norm.item() < 1.01e-3 for norm in norms] == [not after, not after, True, True]


def test_momentum_encoders_follow_the_recipe(tmp_path):
    method = BYOL(R3D(8), hidden=8, out=8)
    module = fit(method, [clips(parts=2)] * 2, tmp_path, recipe=Recipe(ema="constant"))
    copies = [part for part in module.method.modules() if isinstance(part, MomentumCopy)]
    assert copies
    assert {part.schedule(part.momentum, 1.0) for part in copies} == {method.copy.momentum}


def failing(method, at):
    """Let a method's loss be NaN at a step."""
    forward, calls = method.forward, []

    def broken(clips):
        out = forward(clips)
        calls.append(out)
        return {**out, "loss": out["loss"] * (float("nan") if len(calls) == at + 1 else 1.0)}

    method.forward = broken
    return method


@pytest.mark.parametrize("late", [False, True])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_kept(tmp_path, monkeypatch, late):
    """A finding that arrives late, as from a GPU, still names its step, and nothing is saved after that."""
    if late:
        monkeypatch.setattr(LossWatch, "look", lambda self: None)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 2: lower the learning rate"):
        fit(failing(tiny_mae(), 2), [clips()] * 6, tmp_path)
    assert [int(path.stem[5:]) for path in steps_saved(tmp_path)] == [2, 1]


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    with pytest.raises(FloatingPointError, match="weights are not finite after step 1"):
        fit(tiny_mae(), [clips()] * 3, tmp_path, optimizer=partial(torch.optim.SGD, lr=float("inf")))
    assert steps_saved(tmp_path) == []


def test_a_step_waits_for_no_device(monkeypatch):
    """On fake tensors, whatever reads a value raises an error."""
    monkeypatch.setattr(LossWatch, "look", lambda self: None)  # of CUDA's events, which need a driver
    module = Pretraining(tiny_mae(), partial(torch.optim.SGD, lr=0.1), recipe=Recipe(accumulate=2))
    module._trainer = SimpleNamespace(global_step=3, global_rank=0)
    with FakeTensorMode():
        values = {"loss": torch.empty((), device="cuda"), "accuracy": torch.empty(4, device="cuda")}
        monkeypatch.setattr(Pretraining, "forward", lambda self, clips: values)
        for batch_index in range(2):
            module.training_step(None, batch_index)
        with pytest.raises(Exception, match="local_scalar"):
            module.losses.read()
    assert {value.device.type for value in module.latest.values()} == {"cuda"}


def test_synchronised_batch_norm_keeps_names_and_results(tmp_path):
    torch.manual_seed(0)
    module = Pretraining(
        BYOL(R3D(8), hidden=8, out=8), partial(LARS, lr=0.1), recipe=Recipe(checkpoint_activations=True)
    )
    names, before = list(module.state_dict()), module(clips(parts=2))["loss"]
    TorchSyncBatchNorm().apply(module)
    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in module.method.encoder.modules())
    assert list(module.state_dict()) == names
    assert torch.equal(module(clips(parts=2))["loss"], before)
