"""What a run's data gives: mixtures of collections, repeated samples, and transforms finished on the device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.clips import Clips
from avssl.data import Augment, RandAugment, collate
from avssl.encoders import R3D, ResNet
from avssl.methods import EdgesFromMotion, SimCLR
from avssl.training import Data, parse, pretrain
from avssl.training.data import Loaders


def method() -> SimCLR:
    return SimCLR(R3D(width=8), hidden=16)


def data(root: str | list[str], **options: object) -> Data:
    transform = Augment(32, jitter=0.8, grey=0.5, blur=0.5, rand_augment=RandAugment(2), erase=0.5)
    return Data(transform, root, batch_size=4, workers=0, rounds=1, **options)


def test_a_batch_augmented_on_the_device_is_that_of_the_workers(world: Path, tmp_path: Path) -> None:
    whole, halves = (
        Loaders(data(str(world), augment=where), method(), 1, 0, tmp_path) for where in ("workers", "device")
    )
    items = [(0, 0), (0, 1), (3, 2)]
    expected = collate([whole.datasets.training[item] for item in items])[0]
    begun = collate([halves.datasets.training[item] for item in items])[0]
    assert expected.drawn is None
    assert begun.drawn is not None
    assert not torch.equal(begun.video, expected.video)
    found = halves.on_after_batch_transfer(begun.to("cpu"), 0)
    assert found.drawn is None
    assert (found.video.int() - expected.video.int()).abs().max() <= 1
    assert torch.equal(found.times, expected.times)
    assert halves.datasets.held_out[0, 0].clips.drawn is None


def test_a_run_finishes_whole_batches_of_its_transform(world: Path, tmp_path: Path, monkeypatch) -> None:
    seen: list[int] = []
    finish = Augment.finish

    def counted(self: Augment, video: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        seen.append(len(video))
        return finish(self, video, drawn)

    monkeypatch.setattr(Augment, "finish", counted)
    trainer = {"max_steps": 2, "accelerator": "cpu"}
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    pretrain("run", method(), data(str(world), augment="device"), optimizer, trainer, runs=str(tmp_path))
    assert seen.count(4) == 2


def test_a_target_made_of_pixels_needs_the_workers(world: Path) -> None:
    with pytest.raises(ValueError, match=r"makes its target of augmented pixels.* set data\.augment to workers"):
        data(str(world), augment="device").datasets(EdgesFromMotion(ResNet(width=8)), 0)


def test_repeats_show_the_same_seconds_of_a_video_that_is_decoded_once(world: Path, monkeypatch) -> None:
    once = data(str(world)).datasets(method(), 0).training[1, 2].clips
    dataset = data(str(world), repeats=3).datasets(method(), 0).training
    opened: list[str] = []
    from avssl.data import kept as module

    opening = module.open_video
    monkeypatch.setattr(
        module, "open_video", lambda path, *rest, **more: opened.append(path) or opening(path, *rest, **more)
    )
    clips = dataset[1, 2].clips
    assert len(opened) == 1
    assert clips.video.shape == (3, *once.video.shape[1:])
    assert torch.equal(clips.video[:1], once.video)
    assert torch.equal(clips.times, once.times.expand_as(clips.times))
    assert not torch.equal(clips.video[0], clips.video[1])
    assert len(collate([dataset[1, 2], dataset[0, 1]])[0]) == 6


def test_collections_are_mixed_by_weight_whatever_is_held_out_or_too_short(world: Path, tmp_path: Path) -> None:
    rows, roots = open_manifest(world).to_rows(), [str(tmp_path / name) for name in ("one.parquet", "two.parquet")]
    Manifest.from_rows(rows[:14]).write(roots[0])
    Manifest.from_rows([row | {"duration": 0.5} if place < 2 else row for place, row in enumerate(rows[14:])]).write(
        roots[1]
    )
    two = {row["path"] for row in rows[16:]}
    mixed = data(roots, weights=[1.0, 3.0], held_out=0.3).datasets(method(), 0)
    videos, kept = mixed.training.videos, mixed.training.kept
    for place, items in enumerate(mixed.mixed):
        assert 0 < len(items) < (14, 8)[place]
        for index in items:
            path = videos[int(kept[index])].path
            assert (path.relative_to(world).as_posix() in two) == (place == 1)
    assert sorted(np.concatenate(mixed.mixed)) == list(range(len(mixed.training)))
    own = set(mixed.mixed[1].tolist())
    for batch in mixed.batches(4, 20, seed=0):
        assert sum(index in own for _, index in batch) == 3
    with pytest.raises(ValueError, match=r"data\.weights has 3 numbers, data\.root 2 collections"):
        data(roots, weights=[1.0, 1.0, 1.0])


def test_all_of_it_can_be_said_in_a_config(world: Path, tmp_path: Path) -> None:
    kept = tmp_path / "config.yaml"
    kept.write_text(f"""
name: mixed
data:
  root: [{world}, {world}]
  weights: [0.3, 0.7]
  repeats: 2
  augment: device
  transform:
    class_path: avssl.data.PerClip
    init_args:
      transforms:
        - class_path: avssl.data.Augment
          init_args: {{size: 32, jitter: 0.8, strength: [0.4, 0.4, 0.2, 0.1], blur: 1.0, colour_per: frame}}
        - class_path: avssl.data.Augment
          init_args:
            size: 32
            scales: [1, 0.875, 0.75, 0.66]
            short_side: 48
            square: false
            rand_augment: {{class_path: avssl.data.RandAugment, init_args: {{magnitude: 9}}}}
            solarise: 0.2
method: {{class_path: avssl.methods.SimCLR, init_args: {{encoder: {{class_path: avssl.encoders.R3D}}}}}}
optimizer: {{class_path: torch.optim.AdamW}}
trainer: {{max_steps: 1}}
""")
    made, parsed = parse([str(kept)])
    built = made.instantiate(parsed)
    dataset = built.data.datasets(built.method, 0).training
    clips = collate([dataset[0, 0], dataset[0, 1]])[0]
    assert isinstance(clips, Clips)
    transform = built.data.transform
    assert transform.transforms[1].changes[0].magnitude == 9
    assert transform.finish(clips.video, clips.drawn).shape == (4, 2, *clips.video.shape[2:])
