"""``avssl fit`` and ``avssl predict``: what is reported is the protocol's, and what is saved labels videos the same."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import avssl
from avssl.catalog import index
from avssl.catalog.manifest import Manifest
from avssl.cli import main
from avssl.encoders import S3D, ResNet, save_encoder
from avssl.evaluation.classifier.card import card, write_fitted
from avssl.evaluation.classifier.fitting import OwnViews, fit
from avssl.evaluation.classifier.labels import open_labelled
from avssl.evaluation.classifier.model import load_classifier
from avssl.evaluation.classifier.predicting import predict
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import Budget
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.splits import LeaveOneGroupOut
from avssl.evaluation.trial import video_bank
from avssl.media import probe
from avssl.runtime.device import Machine
from avssl.runtime.files import Journal

SPLIT = LeaveOneGroupOut("(?P<group>seq[0-9]+)_")
OWN = OwnViews(clips=2, num_frames=4, step=0.1, size=32)
VIEWS = Views(clips=2, num_frames=4, step=0.1, size=32)
PROBE = LinearProbe(strengths=(0.01, 1.0), inner_folds=2)
CARD = {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32], "method": "Tiny"}


def in_this_process(function, items, *_):
    return ((place, function(item)) for place, item in enumerate(items))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with class folders of twelve videos, their manifest, and a run with a frame encoder."""
    folder = tmp_path_factory.mktemp("place")
    tiny.write_world(folder / "videos", groups=6).write(folder / "videos.parquet")
    torch.manual_seed(0)
    save_encoder(ResNet(width=8), folder / "run" / "encoder", CARD)
    return folder


@pytest.fixture(scope="module")
def machine(place):
    return Machine(device="cpu", workers=0, cache=place / "cache")


@pytest.fixture(scope="module")
def model(place, machine):
    """The folder of a fitted classifier, and all that is known of it."""
    more = {"linear": PROBE, "shapes": ["pooled", "sequence"], "machine": machine}
    fitted = fit(place / "videos.parquet", place / "run", views=OWN, split=SPLIT, **more)
    return write_fitted(fitted, place / "model"), fitted


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(index, "run_parallel", in_this_process)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_accuracy_is_that_of_the_protocol_and_the_head_that_of_the_probe(place, machine):
    root = place / "videos.parquet"
    fitted = fit(
        root, place / "run", views=OWN, split=SPLIT, linear=PROBE, machine=machine, shapes=["pooled"], curve=False
    )
    task = DownstreamTask(Protocol("tiny", LabelledVideos(root), SPLIT, VIEWS, linear=PROBE))
    bank = video_bank(task, avssl.load_encoder(place / "run"), machine).over_time(fitted.model.encoder.num_features)
    expected = task.measure([PROBE], [bank])
    assert fitted.summary.video == expected.video
    assert fitted.summary.confusion == expected.confusion
    assert [chosen["pooled"] for chosen in fitted.summary.chosen[0]] == expected.chosen[0]
    fitted.model.settings = fitted.model.settings.__class__(**{**vars(fitted.model.settings), "temperature": 1.0})
    wanted = PROBE.fit_predict(bank, range(12), range(12), fitted.chosen["pooled"]).mean(1)
    found = [fitted.model(path).probabilities for path in task.videos.paths()]
    np.testing.assert_allclose([[one[name] for name in tiny.CLASSES] for one in found], wanted, atol=0.02)  # bfloat16


def test_what_is_written_is_complete_and_loads_as_it_was(place, model, machine):
    folder, fitted = model
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written >= {"classifier.json", "head.safetensors", "encoder/encoder.safetensors", "README.md"}
    assert written >= {"confusion.png", "reliability.png", "cross_validation.json", "low_shot.png"}
    loaded = avssl.load_classifier(folder, machine)
    video = place / "videos" / "down" / "set1_seq01_down.avi"
    answer = loaded(video)
    assert answer == fitted.model(video)
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.top(1) == [(answer.label, answer.probability)]
    assert loaded([video, video]) == [answer, answer]
    told = card(fitted, "model")
    assert f"{fitted.summary.top1.value:.3f}" in told
    assert "chance" in told
    assert json.loads((folder / "cross_validation.json").read_text())["more_labels"]["shots"] == [1, 2, 4, 5]


def test_other_read_outs_and_several_classes_are_saved_and_loaded(place, machine, tmp_path):
    rows = Manifest.open(place / "videos.parquet").to_rows()
    several = [{**row, "labels": [*row["labels"], *["even"][: place % 2]]} for place, row in enumerate(rows)]
    Manifest.from_rows(several, place).write(tmp_path / "several.parquet")
    cases = {"fine_tune": place / "videos.parquet", "attentive": tmp_path / "several.parquet"}
    budget = Budget(steps=1, batch_size=4, folds=1)
    for how, root in cases.items():
        fitted = fit(root, place / "run", how, views=OWN, budget=budget, linear=PROBE, curve=False, machine=machine)
        fitted.model.save(tmp_path / how)
        loaded = load_classifier(tmp_path / how, machine)
        video = next((place / "videos").rglob("*.avi"))
        assert loaded(video) == fitted.model(video)
        assert loaded.settings.several == (how == "attentive")
        if loaded.settings.several:
            assert set(loaded.classes) == {"down", "right", "even"}
            assert fitted.summary.per_class.keys() == set(loaded.classes)
    before = avssl.load_encoder(place / "run").state_dict()
    frozen, tuned = (avssl.load_encoder(tmp_path / how).state_dict() for how in ("attentive", "fine_tune"))
    assert all(torch.equal(before[name], frozen[name]) for name in before)
    assert any(not torch.equal(before[name], tuned[name]) for name in before)


def test_predictions_are_rows_with_reasons_and_copies_are_marked(place, model, machine, tmp_path, quick):
    videos = tmp_path / "new"
    shutil.copytree(place / "videos" / "down", videos)
    (videos / "broken.avi").write_bytes(b"no video")
    shutil.copy(videos / "set1_seq01_down.avi", videos / "zz_same.avi")
    (videos / "zz_near.avi").write_bytes((videos / "set1_seq02_down.avi").read_bytes() + bytes(64))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in videos.iterdir()}
    words = ["predict", str(model[0]), str(videos), "-o", str(tmp_path / "p.csv"), "--machine.workers=0"]
    assert main([*words, "--machine.device=cpu"]) == 0
    rows = {row["path"].rpartition("/")[2]: row for row in table(tmp_path / "p.csv")}
    assert list(rows) == sorted(path.name for path in videos.iterdir())
    assert rows["broken.avi"]["reason"]
    assert rows["broken.avi"]["class"] == ""
    assert rows["zz_same.avi"]["near"].endswith("set1_seq01_down.avi")
    assert {rows[name]["near"].rpartition("/")[2] for name in ("zz_near.avi", "set1_seq02_down.avi")} > {""}
    assert not any(row["near"] for name, row in rows.items() if "seq03" in name or "seq04" in name)
    answer = load_classifier(model[0], machine)(videos / "set1_seq03_down.avi")
    row = rows["set1_seq03_down.avi"]
    assert row["class"] == answer.label
    assert float(row["probability"]) == pytest.approx(answer.probability, abs=0.01)
    assert float(row["stop"]) == pytest.approx(1.2)
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in videos.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "p.csv", "p.png"]
    assert main(words) == 2  # nothing is overwritten


def test_a_killed_job_goes_on_where_it_was(place, model, machine, tmp_path, monkeypatch):
    loaded = load_classifier(model[0], machine)
    predict(loaded, [place / "videos.parquet"], tmp_path / "whole.parquet", 0.6, 0.2, 0)
    append, read, seen = Journal.append, loaded.read, []

    def dies(self, name, value):
        if len(seen) > 4:
            raise KeyboardInterrupt
        append(self, name, value)

    monkeypatch.setattr(loaded, "read", lambda info, spans: seen.append((info.path, *spans)) or read(info, spans))
    monkeypatch.setattr(Journal, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        predict(loaded, [place / "videos.parquet"], tmp_path / "parts.parquet", 0.6, 0.2, 0)
    with open(tmp_path / "parts.parquet.journal", "ab") as file:
        file.write(b'{"name": "cut sh')
    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(ValueError, match="unfinished job with another model, window or hop"):
        predict(loaded, [place / "videos.parquet"], tmp_path / "parts.parquet", 0.5, 0.2, 0)
    done = len(seen)
    counts = predict(loaded, [place / "videos.parquet"], tmp_path / "parts.parquet", 0.6, 0.2, 0)
    assert len(seen) - done == 12 - 4  # two videos are read at a time
    parts, whole = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("parts", "whole"))
    assert parts.equals(whole)
    assert counts["rows"] == len(parts) == 12 * 4
    assert not (tmp_path / "parts.parquet.journal").exists()


def test_windows_cover_a_long_video(model):
    loaded = model[1].model
    longest, typical = loaded.settings.longest, loaded.settings.typical
    assert loaded.windows(2 * longest) == [(0.0, 2 * longest)]
    assert loaded.windows(100.0, window=0) == [(0.0, 100.0)]
    found = loaded.windows(10 * longest)
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(10 * longest)
    assert all(stop - start == pytest.approx(typical) for start, stop in found)
    assert np.diff([start for start, _ in found]).max() <= typical / 2 + 1e-9
    assert loaded.windows(1.0, window=0.5, hop=0.25) == [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0)]


def test_lists_say_the_classes_whatever_the_folders_are_called(place, tmp_path, quick):
    rows = Manifest.open(place / "videos.parquet").to_rows()
    files = [[tmp_path / f"{part}.csv", []] for part in range(2)]
    for number, row in enumerate(rows[:-2]):  # two have no label
        files[number % 2][1].append(f"{row['path']},{'up' if row['labels'] == ['down'] else 'aside'}")
    for file, lines in files:
        file.write_text("\n".join(["path,label", *lines, ""]))
    found = open_labelled(place / "videos", [str(file) for file, _ in files])
    assert (found.unlabelled, found.refused) == (2, [])
    assert list(found.videos.classes) == ["aside", "up"]
    assert {row["path"]: row["labels"] for row in found.videos.to_rows()} == {
        row["path"]: ["up" if row["labels"] == ["down"] else "aside"] for row in rows[:-2]
    }
    one = open_labelled(place / "videos", [str(files[0][0])])
    assert (len(one.videos), one.unlabelled) == (len(files[0][1]), len(rows) - len(files[0][1]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{empty}"], "no video"),
        (["{one}"], "1 class(es) (down)"),
        (["{poor}"], "'right' has 1 video(s) in 1 group"),
        (["{videos}", "--labels", "{unknown}"], "_dwon.avi' (did you mean 'down/set1_seq01_down.avi'?)"),
        (["{videos}", "--labels", "{missing}"], "no such file"),
        (["{manifest}", "--labels", "{unknown}"], "a manifest brings its own labels"),
        (["{manifest}", "--run={small}"], "does not fit"),
        (["{manifest}", "--run={empty}"], "no exported encoder"),
        (["{manifest}", "--views.step=0"], "views.step is 0"),
        (["{manifest}", "--shapes=[sequence]", "--views.clips=1"], "'sequence' is none of pooled, segments, whole,"),
        (["{manifest}", "-o", "{videos}"], "exists already"),
    ],
)
def test_wrong_input_of_fit_is_one_line(place, tmp_path, quick, capsys, words, message):
    files = {name: tmp_path / name for name in ("empty", "one", "poor", "small")}
    files["empty"].mkdir()
    for name, kept in (("one", ("down",)), ("poor", ("down", "right"))):
        rows = [row for row in Manifest.open(place / "videos.parquet").to_rows() if row["labels"][0] in kept]
        rows = [row for row in rows if name == "one" or row["labels"] == ["down"] or "seq01" in row["path"]]
        files[name] = tmp_path / f"{name}.parquet"
        Manifest.from_rows(rows).write(files[name])
    save_encoder(S3D(width=8), tmp_path / "small" / "encoder", CARD)
    files |= {"videos": place / "videos", "manifest": place / "videos.parquet", "missing": tmp_path / "gone.csv"}
    files["unknown"] = tmp_path / "unknown.csv"
    files["unknown"].write_text("path,label\ndown/set1_seq01_dwon.avi,down\nright/set1_seq01_right.avi,right\n")
    said = [word.format(**files) for word in words]
    common = [] if any(word.startswith("--run") for word in said) else [f"--run={place / 'run'}"]
    common += [] if "-o" in said else ["-o", str(tmp_path / "model")]
    size = ["--views.num_frames=4", "--views.size=32", "--machine.workers=0", f"--machine.cache={tmp_path / 'cache'}"]
    assert main(["fit", said[0], *common, *size, *said[1:]]) == 2
    error = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("error: ") for line in error) == 1
    assert error[-1].startswith("error: ")
    assert message in error[-1]
    assert not (tmp_path / "model").exists()


def test_wrong_input_of_predict_is_one_line_and_a_foreign_folder_runs_nothing(place, model, tmp_path, capsys):
    def said(folder, *words):
        assert main(["predict", str(folder), *map(str, words)]) == 2
        return capsys.readouterr().err

    out, video = ("-o", tmp_path / "p.csv"), place / "videos.parquet"
    assert "it holds an encoder" in said(place / "run", video, *out)
    assert "no such file, folder or manifest" in said(model[0], tmp_path / "gone", *out)
    assert "ends in .csv or .parquet" in said(model[0], video, "-o", tmp_path / "p.txt")
    assert "hop is 0" in said(model[0], video, *out, "--hop=0")
    changes = {
        "how": "os.system",
        "classes": ["down"],
        "temperature": -1,
        "shapes": [{"arrangement": "sequence", "views": {"nonsense": 1}, "grid": None}],
    }
    for key, value in changes.items():
        foreign = tmp_path / key
        shutil.copytree(model[0], foreign)
        settings = json.loads((foreign / "classifier.json").read_text())
        settings[key] = value
        (foreign / "classifier.json").write_text(json.dumps(settings))
        assert said(foreign, video, *out).count("error: ") == 1
    foreign = tmp_path / "pickled"
    shutil.copytree(model[0], foreign)
    torch.save({"weight": torch.zeros(2, 8)}, foreign / "head.safetensors")
    assert "not a readable safetensors file" in said(foreign, video, *out)
    assert not (tmp_path / "p.csv").exists()


def test_unreadable_labelled_videos_are_refused_and_named(place, machine, tmp_path):
    rows = Manifest.open(place / "videos.parquet").to_rows()
    broken = tmp_path / "broken.avi"
    shutil.copy(place / "videos" / rows[0]["path"], broken)
    broken.write_bytes(broken.read_bytes()[:200])
    rows.append({**rows[0], "root": str(tmp_path), "path": broken.name, "content": "other"})
    Manifest.from_rows(rows).write(tmp_path / "videos.parquet")
    more = {"linear": PROBE, "shapes": ["pooled"], "curve": False, "machine": machine}
    fitted = fit(tmp_path / "videos.parquet", place / "run", views=OWN, **more)
    assert [path.name for path, _ in fitted.labelled.refused] == ["broken.avi"]
    assert len(fitted.labelled.videos) == 12
    assert "broken.avi" in card(fitted, "model")


def test_a_classifier_averages_its_shapes_and_one_of_an_older_version_loads(place, model, machine, tmp_path):
    folder, fitted = model
    video = place / "videos" / "down" / "set1_seq01_down.avi"
    (pixels,) = fitted.model.read(video_info := probe(video), [(0.0, video_info.duration)])
    alone = []
    for number, shape in enumerate(fitted.model.settings.shapes):
        older = tmp_path / str(number)
        shutil.copytree(folder, older)
        settings = json.loads((older / "classifier.json").read_text())
        settings |= {"version": 1, "shape": settings.pop("shapes")[number], "temperature": 1.0}
        (older / "classifier.json").write_text(json.dumps(settings))
        tensors = load_file(older / "head.safetensors")
        kept = {name: tensors[f"{number}.{name}"] for name in ("weight", "bias")}
        save_file({**kept, "spread": tensors["spread"]}, older / "head.safetensors")
        one = load_classifier(older, machine)
        assert one.settings.shapes == (shape,)
        alone.append(one.probabilities([pixels]))
    settings = fitted.model.settings
    fitted.model.settings = replace(settings, temperature=1.0)
    np.testing.assert_allclose(fitted.model.probabilities([pixels]), np.mean(alone, 0), atol=1e-5)
    fitted.model.settings = settings
