"""Frame encoders on images: what describes a stage, average precision, VOC's lists, and what is refused."""

import io
import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import average_precision_score

from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import measure_file
from avssl.encoders import R3D, GreyResNet, ResNet, SplitResNet, save_encoder
from avssl.evaluation.finetune import Budget
from avssl.evaluation.images import StagePools, grid, stages, svm
from avssl.evaluation.lists import csv_labels, voc_labels
from avssl.evaluation.precision import average_precisions, chance_precision, mean_average_precision
from avssl.evaluation.probes import LinearProbe, LinearSVMs
from avssl.evaluation.readout import Bank
from avssl.evaluation.report import print_results
from avssl.evaluation.splits import Fold
from avssl.runtime.device import Machine

ROOT = Path(__file__).parents[2]
CARD = {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32], "method": "Tiny"}
QUICK = {"size": 32, "seeds": (0, 1)}
LINEAR = LinearProbe(strengths=(1e-3, 1e-2), iterations=30)
COSTS = LinearSVMs(costs=(1e-3, 1.0))


def export(folder, kind=ResNet):
    torch.manual_seed(0)
    save_encoder(kind(width=8), folder / "encoder", CARD)
    return folder


def machine(tmp_path):
    return Machine(device="cpu", workers=0, cache=tmp_path / "cache")


def index(root):
    """The index that a folder brings along; made here, as processes to measure a few files take long to start."""
    rows = [
        {
            **measure_file(str(path), motion=False),
            "root": str(root),
            "path": path.relative_to(root).as_posix(),
            "size_bytes": path.stat().st_size,
            "label": None if path.parent == root else path.parent.name,
        }
        for path in sorted(root.rglob("*.???"))
    ]
    Manifest.from_rows(rows).write(root / "videos.parquet")
    return root


def colours(root, classes=("blue", "red"), images=4, start=0):
    """``<class>/<number>.png``: noise with more of one channel."""
    for channel, name in zip((2, 0, 1), classes, strict=False):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + images):
            pixels = np.random.default_rng([channel, number]).integers(0, 150, (32, 32, 3))
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return index(root)


@pytest.fixture
def folders(tmp_path):
    return colours(tmp_path / "train", images=6), colours(tmp_path / "test", images=3, start=6)


def voc(root, shared_data, images=24):
    """A replica of VOC's layout: two real pictures side by side, so that an image shows one or two classes."""
    names = ("cat", "ship", "truck")
    source = {name: sorted((shared_data / "cifar10_subset" / "train" / name).iterdir()) for name in names}
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    rng = np.random.default_rng(0)
    shown = {}
    for number in range(images):
        pair = rng.integers(3, size=2)
        pixels = [np.asarray(Image.open(source[names[k]][2 * number + side])) for side, k in enumerate(pair)]
        Image.fromarray(np.concatenate(pixels, 1)).save(root / "JPEGImages" / f"{number:06d}.jpg", quality=95)
        shown[f"{number:06d}"] = {names[k] for k in pair}
    for part, chosen in (("trainval", list(shown)[: images // 2]), ("test", list(shown)[images // 2 :])):
        for name in names:
            lines = [f"{image} {' 1' if name in shown[image] else '-1'}" for image in chosen]
            (root / "ImageSets" / "Main" / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
    index(root / "JPEGImages")
    return root


def test_the_grids_are_those_of_the_papers_and_maps_are_never_enlarged():
    assert [grid(channels, 99) for channels in (96, 256, 384, 384, 256)] == [10, 6, 5, 5, 6]  # AlexNet, Zhang et al.
    assert [grid(channels, 99) for channels in (256, 512, 1024, 2048)] == [6, 4, 3, 2]  # ResNet-50, Goyal et al.
    assert grid(16, 8) == 8
    assert grid(64_000, 7) == 1


@pytest.mark.parametrize("kind", [ResNet, GreyResNet, SplitResNet])
def test_each_stage_is_the_mean_of_its_map_over_the_grid_within_the_budget(kind):
    encoder = kind(width=64).eval()
    pools = StagePools(encoder, 64)
    clips = torch.randn(2, 1, 3, 64, 64)
    with torch.inference_mode():
        parts = pools.frames(clips)[:, 0].split(pools.widths, dim=1)
        maps = encoder.stages(clips)
    assert max(pools.widths) <= 9600
    for part, found, side in zip(parts, maps, pools.grids, strict=True):
        assert part.shape == (2, found.shape[1] * side**2)
        top, left = side // 3, side - 1  # a cell of the grid, which may share a row with its neighbour
        rows, columns = (slice(k * found.shape[2] // side, -(-(k + 1) * found.shape[2] // side)) for k in (top, left))
        cell = part.unflatten(1, (-1, side, side))[:, :, top, left]
        torch.testing.assert_close(cell, found[:, :, rows, columns].mean((2, 3)))
    assert pools.grids[0] < 16  # 64 maps of 16 x 16 are more than the budget
    assert pools.grids[-1] == 2


def test_average_precision_by_hand():
    present, scores = np.array([1, -1, 1, -1, 1], np.int8), np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    area, eleven = average_precisions(present, scores, np.ones((1, 5), np.int64))
    assert area[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert eleven[0] == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 3 / 5) / 11)  # recalls to 1/3, to 2/3, to 1


def test_average_precision_is_scikit_learns_also_with_ties_weights_and_difficult_images():
    rng = np.random.default_rng(0)
    present = rng.integers(-1, 2, 60).astype(np.int8)
    scores = rng.integers(0, 12, 60).astype(np.float64)
    weights = rng.integers(0, 3, (4, 60))
    clear = present != 0
    expected = [average_precision_score(present[clear] > 0, scores[clear], sample_weight=row[clear]) for row in weights]
    np.testing.assert_allclose(average_precisions(present, scores, weights)[0], expected)
    assert np.isnan(average_precisions(np.array([-1, -1], np.int8), np.ones(2), np.ones((1, 2), np.int64))).all()


def test_the_interval_of_map_holds_its_value_and_perfect_rankings_have_none():
    rng = np.random.default_rng(0)
    present = np.where(rng.random((80, 2)) < 0.3, 1, -1).astype(np.int8)
    scores = present + rng.normal(0, 2, present.shape)
    noisy = mean_average_precision(present, [scores], ["a", "b"], range(80))["mAP"]
    assert noisy.ci95_bootstrap[0] < noisy.value < noisy.ci95_bootstrap[1]
    assert noisy.value == pytest.approx(np.mean(list(noisy.per_class.values())))
    for perfect in mean_average_precision(present, [present.astype(np.float32)], ["a", "b"], range(80)).values():
        assert (perfect.value, perfect.ci95_bootstrap) == (pytest.approx(1), (pytest.approx(1), pytest.approx(1)))


def test_svms_choose_a_cost_without_the_test_images_and_leave_difficult_ones_out():
    rng = np.random.default_rng(0)
    present = np.where(rng.random((60, 1)) < 0.5, 1, -1).astype(np.int8)
    features = (present * [[1.0, 0.5]] + rng.normal(0, 0.3, (60, 2)) + 3).astype(np.float32)

    def scored(features, present, train=range(40)):
        bank = Bank(features[:, None], present, np.arange(60), 1)
        return COSTS.scores(bank, Fold("f", tuple(train), tuple(range(40, 60))))

    scores = scored(features, present)
    assert average_precision_score(present[40:, 0] > 0, scores.values[:, 0, 0]) > 0.95
    other = present.copy()
    other[40:] *= -1
    assert scored(features, other).chosen == scores.chosen
    difficult, wrong = present.copy(), features.copy()
    difficult[:10], wrong[:10] = 0, 1e3  # would spoil the planes
    np.testing.assert_array_equal(scored(wrong, difficult).values, scored(features, present, range(10, 40)).values)


def test_stages_beside_baselines_and_chance_the_same_every_time(folders, tmp_path):
    run = export(tmp_path / "run")
    budget = Budget(steps=3, batch_size=4)
    first = stages(*folders, run, linear=LINEAR, from_scratch=budget, machine=machine(tmp_path), **QUICK)
    names = {f"linear_stage{number}" for number in range(1, 5)}
    assert {who: set(found) for who, found in first.outcomes.items()} == dict.fromkeys(
        ("pretrained", "random_init", "from_scratch"), names
    )
    assert first.chance["top1"] == 0.5
    assert first.protocol["sizes"] == [{"fold": "test", "train": 12, "test": 6, "missing": 0}]
    assert len(first.summary("linear_stage1", "random_init").top1.per_seed) == 2
    assert first.summary("linear_stage1").top1.value == 1  # colour is seen at once
    written = json.loads((run / "eval" / first.protocol["name"] / "results.json").read_text())
    shutil.rmtree(tmp_path / "cache")
    again = stages(*folders, run, linear=LINEAR, from_scratch=budget, machine=machine(tmp_path), **QUICK)
    for name in ("protocol", "settings", "chance", "results"):
        assert json.loads(json.dumps(again.to_json()))[name] == written[name]


def test_stages_refuse_an_image_on_both_sides_a_new_class_and_an_encoder_that_mixes_frames(folders, tmp_path):
    train, test = folders
    run, cache = export(tmp_path / "run"), machine(tmp_path)
    with pytest.raises(ValueError, match=r"R3D.* mixes the frames of a clip"):
        stages(train, test, export(tmp_path / "r3d", R3D), machine=cache)
    shutil.copy(train / "red" / "2.png", test / "red" / "other.png")
    index(test)
    with pytest.raises(
        ValueError, match=r"train/red/2\.png in training and .*test/red/other\.png in test have the same"
    ):
        stages(train, test, run, machine=cache)
    (test / "red" / "other.png").unlink()
    colours(test, ("blue", "red", "green"), images=1, start=20)
    with pytest.raises(ValueError, match="class 'green' has 1 test video"):
        stages(train, test, run, machine=cache)


def test_svm_on_the_layout_of_voc(shared_data, tmp_path):
    root, run = voc(tmp_path / "VOC2007", shared_data), export(tmp_path / "run")
    results = svm(root, root, run, linear=COSTS, machine=machine(tmp_path), **QUICK)
    assert results.protocol["classes"] == ["cat", "ship", "truck"]
    assert results.protocol["name"] == "svm_VOC2007"
    found = results.outcomes["pretrained"]["svm"]
    assert set(found["mAP"].per_class) == {"cat", "ship", "truck"}
    console = Console(record=True, width=140, file=io.StringIO())
    print_results(results, console)
    assert f"{results.chance['mAP 11-point']:.3f}" in console.export_text()
    assert found["mAP"].ci95_bootstrap[0] <= found["mAP"].value <= 1
    _, known = voc_labels(root, root, ("trainval", "test"))
    tested = known.present[list(known.folds.folds[0].test)]
    assert results.chance["mAP"] == chance_precision(tested) > (tested == 1).mean()
    lists = root / "ImageSets" / "Main"
    marks = (lists / "cat_test.txt").read_text().splitlines()
    (lists / "cat_test.txt").write_text("\n".join([marks[0].split()[0] + "  0", *marks[1:]]))
    _, known = voc_labels(root, root, ("trainval", "test"))
    assert known.present[known.folds.folds[0].test[0]].tolist()[0] == 0
    other = svm(root, root, run, linear=COSTS, machine=machine(tmp_path), **QUICK)
    assert other.protocol["hash"] != results.protocol["hash"]
    (lists / "cat_test.txt").write_text("\n".join(marks[1:]))
    with pytest.raises(ValueError, match=r"cat_test\.txt and .*ship_test\.txt list different images, such as"):
        svm(root, root, run)
    (lists / "cat_test.txt").write_text("000001 2\n")
    with pytest.raises(ValueError, match=r"cat_test\.txt: expected lines `<image> -1\|0\|1`, got '000001 2'"):
        svm(root, root, run)
    with pytest.raises(FileNotFoundError, match=r"no ImageSets/Main/<class>_val\.txt"):
        svm(root, root, run, sets=("trainval", "val"))
    for file in lists.glob("*_test.txt"):
        shutil.copy(lists / file.name.replace("test", "trainval"), file)
    with pytest.raises(ValueError, match="is on both sides"):
        svm(root, root, run)


def test_svm_labels_from_a_csv(folders, tmp_path):
    train, test = folders
    rows = [f"{path.parent.parent.name}/{path.parent.name}/{path.name}" for path in sorted(tmp_path.glob("t*/*/*.png"))]
    labels = [(row, row.split("/")[1]) for row in rows] + [(row, "even") for row in rows if int(row[-5]) % 2 == 0]
    table = tmp_path / "labels.csv"

    def write(lines):
        table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in lines))

    write(labels)
    images, known = csv_labels(train, test, table)
    assert known.classes == ("blue", "even", "red")
    expected = [
        [1 if path.parent.name == "blue" else -1, 1 if int(path.stem) % 2 == 0 else -1] for path in images.paths()
    ]
    assert known.present[:, :2].tolist() == expected
    results = svm(train, test, export(tmp_path / "run"), table, linear=COSTS, machine=machine(tmp_path), **QUICK)
    assert results.outcomes["pretrained"]["svm"]["mAP"].per_class["red"] == 1
    write([*labels, ("train/red/99.png", "red")])
    with pytest.raises(ValueError, match=r"1 of \d+ rows name no image of .*train/red/99\.png"):
        csv_labels(train, test, table)
    write([label for label in labels if label[0] != rows[0]])
    with pytest.raises(ValueError, match=r"images have no row, such as .*Give an image that shows none"):
        csv_labels(train, test, table)
    write([*labels, (rows[0], "rare")])
    with pytest.raises(ValueError, match=r"class 'rare'.* show it, at least 3 must"):
        svm(train, test, tmp_path / "run", table)


def test_one_command_prints_the_table_and_refuses_in_one_line(folders, tmp_path, monkeypatch, capsys):
    options = [f"--run={export(tmp_path / 'run')}", "--size=32", "--seeds=[0]", "--from_scratch=null"]
    options += ["--machine.workers=0", f"--machine.cache={tmp_path / 'cache'}"]

    def call(*places):
        monkeypatch.setattr(sys, "argv", ["evaluate_images.py", "stages", *map(str, places), *options])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "tools" / "evaluate_images.py"), run_name="__main__")
        return stop.value.code

    assert call(*folders) == 0
    printed = capsys.readouterr().out
    assert "linear_stage4" in printed
    assert "results.json" in printed.replace("\n", "")
    assert call(folders[0], folders[0]) == 2
    assert re.match(r"error: split test: .*/blue/0.png is on both sides", capsys.readouterr().err)
