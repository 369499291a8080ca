"""Supervised training: as a plain loop, resumable, the same on two processes and in parts; what it mixes."""

import math
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pytest
import tiny
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.nn import functional

from avssl.catalog.index import open_manifest
from avssl.encoders import R3D, Encoder, ViT
from avssl.encoders.transformer import Block
from avssl.evaluation import tuning
from avssl.evaluation.budget import Augmentation, Budget, Tuning
from avssl.evaluation.features import Normalise, Views
from avssl.evaluation.finetune import (
    AttentiveClassifier,
    Classifier,
    FrozenClassifier,
    Supervised,
    fit,
    predict,
    prepare,
)
from avssl.evaluation.mixing import mixed, targets
from avssl.evaluation.settings import plain
from avssl.evaluation.splits import Fold
from avssl.evaluation.training_clips import LabelledClips, Pixels, TrainingLoader, batches
from avssl.recipe.checkpoints import Checkpointing, latest
from avssl.runtime.device import Machine
from avssl.runtime.processes import joined

VIEWS = Views(clips=2, num_frames=4, step=0.1, size=32, segments=1)
MACHINE = Machine(device="cpu", workers=0)
ROWS = [0, 1, 2, 4, 5, 6]
SHORT = Budget(steps=4, batch_size=4)
RICH = Budget(
    steps=4,
    batch_size=4,
    flip=0.5,
    warmup="1 step",
    recipe=Tuning(
        optimizer="SGD", layer_decay=0.8, decay_vectors=False, clip=1.0, average=0.5, drop_path=0.5, dropout=0.5,
        head_std=0.01, smoothing=0.1, mixup=0.8, cutmix=1.0, repeats=2, lr_end=1e-6,
    ),
    augment=Augmentation(rand_augment=7.0, erase=0.25, jitter=0.8, grey=0.2),
)  # fmt: skip


def pixels_of(collection, machine=MACHINE, several=False):
    labels = np.array([info.label for info in collection])
    return Pixels(collection, np.where(labels[:, None] == [0, 1], 1, -1) if several else labels, 2, VIEWS, machine)


def encoder_of(make=R3D, **config):
    torch.manual_seed(0)
    encoder = make(**{"width": 8} | config)
    encoder.card = {"mean": tiny.MEAN, "std": tiny.STD}
    return encoder


def tokens():
    return encoder_of(ViT, width=64, depth=2)


def model_of(kind=Classifier):
    encoder = encoder_of()
    torch.manual_seed(1)
    return kind(encoder, 2)


def run(pixels, kind=Classifier, **changes):
    model = model_of(kind)
    return model, fit(model, pixels, ROWS, replace(SHORT, **changes), seed=0)


def equal(first, second):
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_clips_in_memory_are_those_read_from_files(collection):
    pixels = pixels_of(collection)
    memory, files = (LabelledClips(source, SHORT, seed=3) for source in (pixels.decode_all(ROWS), pixels))
    assert memory.pixels.decoded.shape == (8, 10, 4, 3, 32, 32)
    for item in [(0, 1), (5, 4), (6, 4)]:
        assert torch.equal(memory[item].video, files[item].video)
        assert memory[item].video.shape == (1, 4, 3, 32, 32)
    assert not torch.equal(memory[5, 4].video, memory[6, 4].video)
    assert pixels_of(collection, Machine(workers=0, memory=1000)).decode_all(ROWS).decoded is None


@pytest.mark.parametrize("several", [False, True])
def test_a_plain_budget_is_this_loop_and_global_random_numbers_do_not_matter(several, collection):
    pixels, model = pixels_of(collection, several=several).decode_all(ROWS), model_of()
    clips, normalise = LabelledClips(pixels, SHORT, 0), Normalise(tiny.MEAN, tiny.STD, torch.device("cpu"))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    plain_losses = []
    for step, batch in enumerate(batches(ROWS, SHORT, SHORT.steps, 0)):
        optimiser.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * max(0, step - 1) / 3)) / 2
        samples = [clips[item] for item in batch]
        with MACHINE.autocast():
            logits = model(normalise(torch.stack([sample.video[0] for sample in samples]))).float()
        labels = torch.stack([sample.labels for sample in samples])
        loss = (
            functional.binary_cross_entropy_with_logits(logits, (labels > 0).float())
            if several
            else functional.cross_entropy(logits, labels)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plain_losses.append(loss.item())
    trained = model_of()
    torch.manual_seed(77)
    losses = fit(trained, pixels, ROWS, SHORT, 0)
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(77))
    assert losses == plain_losses
    equal(trained, model)


def test_settings_of_a_plain_budget_are_those_of_kept_results():
    assert plain(Budget()).keys() == {
        "steps", "batch_size", "lr", "weight_decay", "warmup", "flip", "seeds", "folds"
    }  # fmt: skip
    assert plain(RICH)["recipe"]["mixup"] == 0.8


def test_it_learns_and_predicts_probabilities(collection):
    pixels = pixels_of(collection).decode_all(range(8))
    model, losses = run(pixels, steps=40)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    scores = predict(model, pixels, [3, 7])
    assert scores.shape == (2, 2, 2)
    assert scores.sum(2) == pytest.approx(1, abs=1e-3)
    assert scores.mean(1).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("kind", [AttentiveClassifier, FrozenClassifier])
def test_a_probe_leaves_the_encoder_as_it_was(kind, collection):
    before = {name: tensor.clone() for name, tensor in model_of(kind).encoder.state_dict().items()}
    model, losses = run(pixels_of(collection), kind, steps=3)
    assert len(losses) == 3
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is not None for parameter in model.head.parameters())


def supervised(folder, collection, budget=RICH):
    pixels = replace(pixels_of(collection), folder=folder)
    return Supervised(lambda seed: tokens(), budget), pixels


def test_a_rich_recipe_resumes_exactly_and_a_finished_fold_is_not_trained_again(collection, tmp_path, monkeypatch):
    read_out, pixels = supervised(tmp_path / "whole", collection)
    fold = Fold("one", tuple(ROWS), (3, 7))
    whole = read_out.scores(pixels, fold).values
    assert latest(read_out.place(pixels, tokens(), ROWS)) is None  # a training that ends keeps no weights

    class Killed(BaseException):
        """As by kill -9: nothing more is written."""

    def killed(self, trainer, module, outputs, batch, batch_index):
        if trainer.global_step == 3:
            raise Killed
        if trainer.global_step == 2:
            self._save(trainer)

    read_out, pixels = supervised(tmp_path / "stopped", collection)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointing, "on_train_batch_end", killed)
        with pytest.raises(Killed):
            read_out.scores(pixels, fold)
    assert latest(read_out.place(pixels, tokens(), ROWS)).name == "step-00000002.ckpt"
    assert np.array_equal(read_out.scores(pixels, fold).values, whole)
    monkeypatch.setattr(tuning.L.Trainer, "fit", None)
    assert np.array_equal(read_out.scores(pixels, fold).values, whole)
    other = replace(read_out, budget=replace(RICH, lr=1e-4))
    with pytest.raises(TypeError):
        other.scores(pixels, fold)  # another budget is another training


def test_two_processes_train_the_same_weights_as_one(collection, tmp_path, monkeypatch):
    """This one and another, as torchrun starts them; normalised over the whole batch, in shares of 4 and 2 clips."""
    collection.write(tmp_path / "videos.parquet")
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
    monkeypatch.setattr(Machine, "half", False)
    alone = two(pixels_of(collection))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    places |= {"TORCHELASTIC_RUN_ID": "test", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
    ranked = {**os.environ, **places, "RANK": "1", "LOCAL_RANK": "1"}
    other = forked.start([sys.executable, __file__, tmp_path], env=ranked)
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    with joined():
        both = two(pixels_of(collection))
    assert other.wait(60) == 0, other.stderr
    assert both["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert both["scores"] == pytest.approx(alone["scores"], abs=1e-5)
    for name, tensor in alone["state"].items():
        assert torch.allclose(both["state"][name], tensor, atol=1e-5), name


class Shallow(Encoder):
    """Two layers with batch normalisation: more of them would make more of rounding."""

    def __init__(self):
        super().__init__(8, {})
        self.net = nn.Sequential(nn.Conv3d(3, 8, 3, (1, 2, 2), 1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 8, 1))
        self.unused = nn.Parameter(torch.zeros(1))

    def maps(self, clips):
        return self.net(clips.transpose(1, 2))


def two(pixels):
    """Train on batches of 6 clips that are mixed, and test."""
    recipe = Tuning(optimizer="SGD", mixup=0.8, cutmix=1.0, repeats=2, average=0.9)
    torch.manual_seed(1)
    model = Classifier(encoder_of(lambda width: Shallow()), 2)
    losses = fit(model, pixels, ROWS, Budget(steps=3, batch_size=6, lr=0.1, recipe=recipe), 0)
    return {"losses": losses, "scores": predict(model, pixels, [3, 7, 0]), "state": model.state_dict()}


class Narrow(nn.Module):
    """A classifier on a device that has memory for two clips at once, without batch normalisation."""

    def __init__(self, most):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.most = tokens(), most
        self.head = nn.Linear(64, 2)

    def forward(self, clips):
        if len(clips) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.head(self.encoder(clips))


def test_a_device_out_of_memory_gets_fewer_clips_at_once_and_the_same_weights(collection, capsys):
    pixels = pixels_of(collection)
    narrow, wide = Narrow(2), Narrow(4)
    assert fit(narrow, pixels, ROWS, SHORT, 0) == pytest.approx(fit(wide, pixels, ROWS, SHORT, 0), abs=1e-3)
    assert "2 forward passes per step" in capsys.readouterr().err
    for a, b in zip(narrow.state_dict().values(), wide.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=3e-3)  # Adam's first steps are as large for gradients that are nearly nothing
    assert predict(narrow, pixels, [3, 7]).shape == (2, 2, 2)
    assert "2 views at once" in capsys.readouterr().err
    with pytest.raises(torch.OutOfMemoryError, match="too little memory for 1 clips"):
        fit(Narrow(0), pixels, ROWS, SHORT, 0)


@pytest.mark.parametrize("strength", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_a_mixed_clip_has_the_target_of_its_pixels(strength):
    shown = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]]).float()  # also several classes
    clips = shown.mean(1)[:, None, None, None, None, None].expand(-1, 2, 3, 3, 16, 16)
    found = []
    for seed in range(20):
        pixels, wanted = mixed(clips, shown, Tuning(**strength), np.random.default_rng(seed))
        assert torch.allclose(pixels.mean((1, 2, 3, 4, 5)), wanted.mean(1), atol=1e-5)  # weights are shares of pixels
        assert torch.allclose(pixels[4], clips[4])
        assert torch.allclose(wanted[:4].sum(0), shown[:4].sum(0))
        found.append(wanted[0, 0].item())
    assert min(found) < 0.5 < 0.9 < max(found)
    assert torch.equal(targets(torch.tensor([2, 0]), 3), torch.eye(3)[[2, 0]])


def test_rates_fall_by_depth_and_blocks_are_skipped_more_often_above():
    model = Classifier(encoder_of(ViT, width=64, depth=3), 2)
    prepare(model, Tuning(drop_path=0.2, dropout=0.5, head_std=1e-3))
    assert [block.drop_path for block in model.modules() if isinstance(block, Block)] == pytest.approx([0, 0.1, 0.2])
    assert model.head.weight.abs().max() <= 2e-3
    assert model.dropout.p == 0.5
    with pytest.raises(ValueError, match="no blocks that can be skipped"):
        prepare(Classifier(encoder_of(), 2), Tuning(drop_path=0.1))
    with pytest.raises(ValueError, match=r"no recipe\.dropout"):
        prepare(AttentiveClassifier(encoder_of(), 2), Tuning(dropout=0.1))


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "LARS"])
def test_the_optimiser_follows_the_recipe(kind, collection):
    recipe = Tuning(optimizer=kind, layer_decay=0.5, decay_vectors=False, lr_start=1e-4, lr_end=1e-5)
    budget = Budget(batch_size=2, lr=0.1, weight_decay=0.05, warmup="1 epochs", epochs=4, recipe=recipe)
    module = tuning.ClassifierTraining(Classifier(tokens(), 2), pixels_of(collection), budget, len(ROWS), 0)
    optimiser = module.configure_optimizers()
    assert type(optimiser).__name__ == kind
    assert {group["lr_scale"] for group in optimiser.param_groups} == {0.125, 0.25, 0.5, 1.0}
    assert {group["weight_decay"] for group in optimiser.param_groups if group["spared"]} == {0.0}
    assert module.timetable.steps == 12
    assert [module.timetable.rate(step, 0.1) for step in (2, 11)] == pytest.approx([1.0, 1e-4], abs=0.05)
    assert module.timetable.rate(0, 0.1) == pytest.approx(1e-3 + 0.999 / 3)


def test_processes_share_each_batch_and_neighbours_stay_together(collection):
    loaders = [TrainingLoader(LabelledClips(pixels_of(collection), SHORT, 0), ROWS, 2, rank, 2) for rank in (0, 1)]
    whole = next(iter(TrainingLoader(LabelledClips(pixels_of(collection), SHORT, 0), ROWS, 2)))
    halves = [next(iter(loader)) for loader in loaders]
    assert [len(half.labels) for half in halves] == [2, 2]
    assert torch.equal(torch.cat([half.video for half in halves]), whole.video)
    with pytest.raises(ValueError, match="batch_size is 4: 3 processes need at least 6"):
        TrainingLoader(LabelledClips(pixels_of(collection), SHORT, 0), ROWS, 2, 0, 3)


if __name__ == "__main__":
    rank_zero_only.rank = int(os.environ["RANK"])  # read when it was imported, before this process was forked
    Machine.half = False
    with joined():
        two(pixels_of(open_manifest(Path(sys.argv[1]) / "videos.parquet")))
