"""What holds of every method; a new config in configs/ is tested without a new line here."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from shutil import copytree

import pytest
import torch
import yaml

from avssl.catalog.index import open_manifest
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, Item, collate
from avssl.data.loader import Steps
from avssl.encoders import load_encoder, weights_hash
from avssl.pixels import MEAN, STD
from avssl.recipe.checkpoints import latest
from avssl.training import pretrain
from avssl.training.config import parse
from avssl.training.sheet import show

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
FEW = 4  # videos in a batch, where more would show nothing more
MORE = {"moco": 8, "visual_words": 8}  # of configs that learn a larger one: a full queue; words that differ
PATCHES = [
    *("cubic_puzzles", "context_prediction", "jigsaw", "deep_perm_net", "selfie"),
    *("counting", "multi_task"),
]
SIZE = dict.fromkeys(PATCHES, 64) | {"ranking": 96}  # pixels, by config, where a method can't work on 32 x 32
STEPS = {"byol": 150, "videomae": 250, "vjepa": 150, "xdc": 150}  # of learning, by config, where sixty are too few
STEPS |= {"layer_wise": 150, "visual_words": 200}
STEPS |= {"transformations": 50, "transformations_frames": 50, "spatial_audio": 40}
STEPS |= {"deep_cluster": 40, "deeper_cluster": 30, "co_parts": 150}
STEPS |= {"cav_mae": 90, "ambient_sound": 40, "iic": 20, "levjepa": 50, "rspnet": 40, "synchformer": 20}
STEPS |= {"av_hubert": 100}
TINY = {
    "cubic_puzzles": {"method.init_args.sampler.num_frames": 16, "method.init_args.sampler.step": 0.08},
    "videomae": {"method.init_args.encoder.init_args.depth": 2, "method.init_args.sampler.num_frames": 8},
    "vjepa": {"method.init_args.encoder.init_args.depth": 2},
    "flow_prediction": {"method.init_args.sampler.num_frames": 6, "method.init_args.seen": 4},
    "flow_prediction_3d": {"method.init_args.sampler.num_frames": 6, "method.init_args.seen": 4},
    "moving_objects": {"method.init_args.sampler.num_frames": 3},
    "moco": {"method.init_args.queue": 8},  # or a batch that comes again meets itself among its negatives
    "rspnet": {"method.init_args.queue": 8, "method.init_args.sampler.num_frames": 4},
    "iic": {"method.init_args.sampler.num_frames": 4},
    "synchformer": {"method.init_args.sampler.num_frames": 16},
    "transformations": {"method.init_args.draws": 8, "method.init_args.sampler.num_frames": 4},
    "transformations_frames": {"method.init_args.draws": 8},
    "deep_cluster": {"method.init_args.every": 10, "method.init_args.sampler.num_frames": 4},
    "deeper_cluster": {"method.init_args.every": 10, "method.init_args.sampler.num_frames": 4},
    "camera_consistency": {"method.init_args.size": 24},
    "ambient_sound": {"method.init_args.every": 10},
    "av_hubert": {"method.init_args.every": 5, "method.init_args.clusters": 8, "method.init_args.memory": 1024},
    "exemplar": {"method.init_args.sampler.clips": 3},
    "spatial_audio": {"method.init_args.tracks": 2, "method.init_args.sampler.num_frames": 3},
    "tracked_patches": {"method.init_args.size": 32, "method.init_args.sampler.num_frames": 4},
    "visual_words": {"method.init_args.encoder.init_args.words": 16, "method.init_args.every": 5},
    "co_parts": {"method.init_args.sampler.num_frames": 3},
    "ego_motion": {"method.init_args.dropout": 0},  # or half of eight features tell sixty classes
}
# Cameras leave their traces in noise, too: there, settings are drawn, but nothing is done with them.
NOISE = {
    "camera_consistency": {"method.init_args.pipeline.init_args.strength": 0},
    "cubic_puzzles": {"method.init_args.puzzles": 2},
}


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem, scope="module")
def config(request):
    """A config; its laws are tested one after another, since they share what it is parsed to."""
    return request.param


@pytest.fixture
def world(config, world, request):
    """The world that a config is for: one camera, two, depth maps, panoramas, drives, or faces."""
    root = yaml.safe_load(config.read_text())["data"]["root"]
    root = root if isinstance(root, str) else root[0]
    other = {
        "synthetic_views": "views",
        "synthetic_depth": "depths",
        "synthetic_sphere": "spheres",
        "synthetic_arena": "arenas",
        "synthetic_face": "faces",
    }
    return request.getfixturevalue(other[root]) if root in other else world


@lru_cache(maxsize=2)
def parsed(config):
    """What `parse` returns, which takes as long as a small training: laws of one config share it."""
    return parse([str(config)])


def changed(config, world, batch=FEW, **overrides):
    """The parser of a config and what it was parsed to, with other values of the same types."""
    made, found = parsed(config)
    found = found.clone()
    overrides = {"data.root": str(world), "data.batch_size": batch, "data.workers": 0, **overrides}
    for name, value in overrides.items():
        found[name] = value
    return made, found


def build(config, world, batch=FEW, **overrides):
    made, found = changed(config, world, batch, **overrides)
    torch.manual_seed(found.seed)
    return made.instantiate(found)


def narrowed(config, **more):
    """Overrides that make all widths of a method 8, on small pictures."""
    words = {"data.transform.init_args.size": SIZE.get(config.stem, 32), **TINY.get(config.stem, {}), **more}

    def narrow(tree, prefix):
        for name, value in tree.items():
            if name == "width":
                words[f"{prefix}.{name}"] = 8
            elif isinstance(value, dict):
                narrow(value, f"{prefix}.{name}")

    narrow(yaml.safe_load(config.read_text())["method"], "method")
    return words


def tiny(config, world, batch=FEW, **more):
    """The same method with all widths 8, on small pictures."""
    return build(config, world, batch, **narrowed(config, **more))


def dataset_of(built, world):
    method, data = built.method, built.data
    return ClipDataset(
        open_manifest(world), method.sampler, data.transform, method.labeller, data.audio_rate, short=data.short
    )


def batch_of(built, world):
    dataset = dataset_of(built, world)
    return collate([dataset[item] for item in next(iter(Steps(len(dataset), built.data.batch_size, 1)))])[0]


def optimizer_of(method, rate):
    return torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], rate, fused=True)


def normal(clips):
    return clips.normalised(torch.tensor(MEAN), torch.tensor(STD))


def test_the_config_that_a_run_keeps_says_the_same(config, tmp_path):
    made, found = parsed(config)
    kept = tmp_path / "config.yaml"
    kept.write_text(made.dump(found))
    _, again = parse([str(kept)])
    assert again == found


def test_every_parameter_gets_a_gradient_and_every_metric_one_value_a_video_and_a_chance_level(config, world):
    built = build(config, world)
    out = built.method(normal(batch_of(built, world)))
    assert out["loss"].ndim == 0
    metrics = [name for name in out if name != "loss" and not name.startswith("chance/")]
    assert metrics
    for name in metrics:
        assert out[name].shape == out[f"chance/{name}"].shape == (FEW,)
        assert 0 < out[f"chance/{name}"].mean() < 1
    out["loss"].backward()
    without = [
        name
        for name, parameter in built.method.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert without == []


def test_items_and_outputs_are_deterministic_and_labels_are_not_read(config, world):
    """Of a semi-supervised method, which does read labels, only that -1 is no label: see test_semi_supervised.py."""
    built = tiny(config, world)
    clips, again = batch_of(built, world), batch_of(built, world)
    assert torch.equal(clips.video, again.video)
    method = built.method.eval()
    outputs = []
    shown = (torch.full_like(clips.label, -1),) if method.uses_labels else (clips.label, torch.zeros_like(clips.label))
    for label in (None, *shown):
        torch.manual_seed(0)
        outputs.append(method(normal(replace(clips, label=label))))
    for other in outputs[1:]:
        assert all(torch.equal(outputs[0][name], other[name]) for name in outputs[0])


def test_noise_leaves_a_trained_method_at_chance(config, world):
    """Pixels and sound that know nothing of time: training on them must not lift any metric above chance."""
    built = tiny(config, world, **NOISE.get(config.stem, {}))
    dataset, method = dataset_of(built, world), built.method
    rng = torch.Generator().manual_seed(0)
    side = built.data.transform.size

    def item(info):
        times, audio, _ = dataset.sampler(info, rng)
        video = torch.randint(0, 256, (*times.shape, 3, side, side), dtype=torch.uint8, generator=rng)
        sound = None
        if audio is not None:
            samples = round((audio[0, 1] - audio[0, 0]).item() * dataset.audio_rate)
            own = (dataset.channels,) if dataset.channels > 1 else ()
            sound = 0.1 * torch.randn(1, len(audio), *own, samples, generator=rng)
        target = None if method.labeller is None else method.labeller(video, times, info)[None]
        audio = None if audio is None else audio[None]
        return Item(Clips(video[None], times[None], sound, audio, audio, target), [])

    def noise(videos):
        rows = torch.randint(len(dataset), (videos,), generator=rng).tolist()
        return normal(collate([item(dataset.videos[int(dataset.kept[row])]) for row in rows])[0])

    optimizer = optimizer_of(method, 1e-3)
    for step in range(8):
        optimizer.zero_grad()
        method(noise(8))["loss"].backward()
        optimizer.step()
        method.after_step((step + 1) / 8)
    method.eval()
    with torch.no_grad():
        outputs = [method(noise(32)) for _ in range(6)]
    for name in outputs[0]:
        if f"chance/{name}" in outputs[0]:
            values = torch.cat([out[name] for out in outputs])
            chance = torch.cat([out[f"chance/{name}"] for out in outputs])
            error = (values - chance).std() / len(values) ** 0.5
            assert (values - chance).mean() < 3.5 * error + 1e-3, name


def test_it_can_learn_a_batch_of_the_world(config, world):
    """Some steps over the same few videos: the loss falls, and some metric is well above its chance level.

    Sixty steps, or as many as ``STEPS`` says; they end before where both are passed by some way.
    """
    steps = STEPS.get(config.stem, 60)
    built = tiny(config, world, MORE.get(config.stem, FEW))
    method, clips = built.method, normal(batch_of(built, world))
    optimizer = optimizer_of(method, 3e-3)
    outputs = []

    def mean(name, part):
        return sum(out[name].mean().item() for out in part) / len(part)

    for step in range(steps):
        optimizer.zero_grad()
        outputs.append(method(clips))
        outputs[-1]["loss"].backward()
        optimizer.step()
        method.after_step((step + 1) / steps)
        fallen = mean("loss", outputs[-5:]) / mean("loss", outputs[:5])
        chances = {name: mean(f"chance/{name}", outputs[-5:]) for name in outputs[0] if f"chance/{name}" in outputs[0]}
        gains = {name: (mean(name, outputs[-5:]) - chance) / (1 - chance) for name, chance in chances.items()}
        if step >= 9 and fallen < 0.8 and max(gains.values()) > 0.35:
            break
    assert fallen < 0.9
    assert max(gains.values()) > 0.25, gains


def start(built, runs):
    built.data.rounds = 1
    trainer = {"max_steps": 3, "precision": "auto", "log_every_n_steps": 1, "accelerator": "cpu"}
    torch.manual_seed(0)
    pretrain("run", built.method, built.data, built.optimizer, trainer, seed=0, runs=str(runs), measure_every=99)


def test_a_run_that_was_broken_off_and_resumed_equals_one_that_was_not(config, world, tmp_path, monkeypatch):
    """The run goes on, and so does a copy of its folder as it was when the second step had been saved."""
    from avssl.recipe.checkpoints import Checkpointing

    plain = Checkpointing.on_train_batch_end

    def saving(self, trainer, *rest):
        plain(self, trainer, *rest)
        if trainer.global_step == 2:
            self._save(trainer)
            copytree(tmp_path / "whole/run", tmp_path / "broken/run")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointing, "on_train_batch_end", saving)
        start(tiny(config, world), tmp_path / "whole")
    again = tiny(config, world)
    for parameter in again.method.parameters():
        parameter.data.zero_()  # or a run that begins anew would pass
    start(again, tmp_path / "broken")
    one, other = (load_encoder(tmp_path / name / "run") for name in ("whole", "broken"))
    assert weights_hash(one) == weights_hash(other)
    states = [torch.load(latest(tmp_path / n / "run/checkpoints"), weights_only=True) for n in ("whole", "broken")]
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name


def test_the_contact_sheet_is_drawn(config, world, tmp_path, monkeypatch):
    monkeypatch.setattr("avssl.training.sheet.parse", lambda words: changed(config, world, **narrowed(config)))
    out = show([], tmp_path / "sheet.png", videos=1)
    assert out.stat().st_size > 10_000
