"""One command from a run to results, and many results to a table that refuses to mix protocols."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pytest
import tiny
import torch
from rich.console import Console

from avssl.encoders import R3D, ResNet, save_encoder
from avssl.evaluation import finetune, pictures
from avssl.evaluation import run as evaluation
from avssl.evaluation.config import parse, parser
from avssl.evaluation.embedding import embed, project
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import Budget
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, LowShot, Protocol
from avssl.evaluation.report import advantage, collect, comma_separated, comparison, markdown, print_results, scores
from avssl.evaluation.results import Results
from avssl.evaluation.splits import LeaveOneGroupOut
from avssl.runtime.device import Machine

ROOT = Path(__file__).parents[2]
PATTERN = "(?P<part>set[12])_(?P<group>seq[0-9]+)_"
BUDGET = Budget(steps=2, batch_size=4, folds=2)
CARD = {"mean": tiny.MEAN, "std": tiny.STD, "size": [32, 32], "method": "Tiny"}


def protocol_of(root, **changes):
    base = {
        "name": "tiny",
        "data": LabelledVideos(root),
        "split": LeaveOneGroupOut(PATTERN),
        "views": Views(clips=2, num_frames=4, step=0.1, size=32, segments=2),
        "seeds": (0, 1),
        "linear": LinearProbe(strengths=(0.01, 1.0)),
        "retrieval": (1, 5),
    }
    return Protocol(**{**base, **changes})


def export(folder, kind=ResNet, seed=0, **card):
    torch.manual_seed(seed)
    save_encoder(kind(width=8), folder / "encoder", {**CARD, **card})
    return folder


@pytest.fixture(scope="module")
def manifest(collection, tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest") / "videos.parquet"
    collection.write(path)
    return path


@pytest.fixture(scope="module")
def evaluated(manifest, tmp_path_factory):
    """A frame encoder through everything."""
    folder = tmp_path_factory.mktemp("evaluated")
    protocol = protocol_of(
        manifest,
        low_shot=LowShot(shots=(1, 2, 10), draws=2, fine_tune=BUDGET, fine_tune_shots=(1,)),
        fine_tune=BUDGET,
        attentive=BUDGET,
    )
    machine = Machine(device="cpu", workers=0, cache=folder / "cache")
    run = export(folder / "run")
    return protocol, machine, run, evaluation.evaluate(protocol, run, machine)


def test_a_result_carries_its_protocol_baselines_and_chance(evaluated):
    _, _, run, _ = evaluated
    written = json.loads((run / "eval" / "tiny" / "results.json").read_text())
    assert written["protocol"]["videos"] == 8
    assert written["protocol"]["classes"] == list(tiny.CLASSES)
    assert written["protocol"]["views"]["size"] == 32
    assert len(written["protocol"]["sizes"]) == 4
    assert written["settings"]["fine_tune"]["steps"] == 2
    assert written["chance"]["top1"] == 0.5
    assert written["chance"]["R@1"] == pytest.approx(0.5)
    assert written["results"].keys() == {"pretrained", "random_init", "from_scratch"}
    frozen = {"linear", "neighbours", "retrieval", "linear_ordered", "neighbours_ordered", "retrieval_ordered"}
    assert written["results"]["random_init"].keys() == frozen | {"linear_sequence", "low_shot", "attentive"}
    assert written["results"]["from_scratch"].keys() == {"fine_tune", "low_shot_fine_tune"}
    assert len(written["results"]["random_init"]["linear"]["video"]["top1"]["per_seed"]) == 2
    assert "fewer than 10" in written["results"]["pretrained"]["low_shot"]["10"]["skipped"]
    for picture in ("confusion_linear.png", "confusion_fine_tune.png", "low_shot.png"):
        assert (run / "eval" / "tiny" / picture).stat().st_size > 1000


def test_the_same_run_gives_the_same_numbers_and_shares_its_baselines(evaluated, monkeypatch):
    protocol, machine, run, results = evaluated
    asked = []
    run_read_outs = evaluation.run_read_outs
    spy = lambda *args, **kwargs: asked.append(1) or run_read_outs(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(evaluation, "run_read_outs", spy)
    again = evaluation.evaluate(protocol, run, machine)
    assert len(asked) == 1  # the pretrained encoder only
    assert json.dumps(again.to_json()["results"]) == json.dumps(results.to_json()["results"])
    assert Results.read(run / "eval" / "tiny" / "results.json").to_json() == json.loads(json.dumps(again.to_json()))


def test_baselines_of_a_network_that_is_now_initialised_otherwise_are_made_anew(evaluated, monkeypatch):
    protocol, machine, run, _ = evaluated
    encoder, task = evaluation.load_encoder(run), DownstreamTask(protocol)
    asked = []
    monkeypatch.setattr(evaluation, "run_read_outs", lambda *args, **kwargs: asked.append(1) or {})
    monkeypatch.setattr(evaluation, "train_network", lambda *args: {})
    monkeypatch.setattr(type(encoder), "__init__", otherwise(type(encoder).__init__))
    evaluation.baselines(task, encoder, machine)
    evaluation.baselines(task, encoder, machine)
    assert len(asked) == 1


def test_baselines_that_begin_with_a_run_are_made_anew_when_it_was_trained_again(evaluated, monkeypatch, tmp_path):
    protocol, machine, run, _ = evaluated
    encoder, other = evaluation.load_encoder(run), tmp_path / "other" / "encoder"
    task = DownstreamTask(replace(protocol, fine_tune=replace(protocol.fine_tune, initial=f"mean_var:{other}")))
    asked = []
    monkeypatch.setattr(evaluation, "run_read_outs", lambda *args, **kwargs: asked.append(1) or {})
    monkeypatch.setattr(evaluation, "train_network", lambda *args: {})
    for weight, times in ((0.5, 1), (0.5, 1), (0.25, 2)):
        with torch.no_grad():
            next(encoder.parameters()).fill_(weight)
        save_encoder(encoder, other, encoder.card)
        evaluation.baselines(task, encoder, machine)
        assert len(asked) == times


def otherwise(build):
    """A network's ``__init__`` that halves the weights it draws."""

    def init(self, **config):
        build(self, **config)
        with torch.no_grad():
            for weights in self.parameters():
                weights.div_(2)

    return init


def test_fine_tuning_starts_from_the_pretrained_weights(evaluated):
    protocol, machine, run, _ = evaluated
    started = []
    encoder = evaluation.load_encoder(run)
    task = DownstreamTask(protocol)
    fit = finetune.fit

    def spy(model, *args):
        started.append({name: tensor.clone() for name, tensor in model.encoder.state_dict().items()})
        return fit(model, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "fit", spy)
        evaluation.run_read_outs(task, [encoder], machine)
    for weights in started:
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(weights[name], tensor), name


def test_the_table_refuses_to_mix_protocols(evaluated, manifest, tmp_path):
    _, machine, run, _ = evaluated
    other = export(tmp_path / "other")
    evaluation.evaluate(protocol_of(manifest, views=Views(clips=1, num_frames=4, size=32)), other, machine)
    with pytest.raises(ValueError, match=r"not of one protocol and can't share a table: \{'views'"):
        collect([run, other])
    third = export(tmp_path / "third")
    evaluation.evaluate(protocol_of(manifest, linear=LinearProbe(strengths=(0.1,))), third, machine)
    with pytest.raises(ValueError, match="differ in linear"):
        collect([run, third])
    fourth = export(tmp_path / "fourth", method="Other")
    evaluation.evaluate(protocol_of(manifest), fourth, machine)  # without three of the first one's read-outs
    with pytest.raises(ValueError, match="differ in linear"):
        collect([fourth, run, third])
    headings, rows = comparison(collect([run, fourth]))
    assert [rows[place][headings.index("fine_tune top1")] == "" for place in (0, 1)] == [True, False]
    with pytest.raises(FileNotFoundError, match=r"no eval/tiny/results\.json"):
        collect([tmp_path / "nothing"], "tiny")


def test_table_and_picture_of_methods_baselines_chance_and_published(manifest, tmp_path, monkeypatch):
    machine = Machine(device="cpu", workers=0, cache=tmp_path / "cache")
    runs = [export(tmp_path / f"r{seed}", seed=seed) for seed in range(2)] + [export(tmp_path / "v", R3D, method="V")]
    for run in runs:
        results = evaluation.evaluate(protocol_of(manifest), run, machine)
    published = tmp_path / "published.yaml"
    published.write_text("Tiny: UCF101 50.2\n")
    headings, rows = comparison(collect(runs), published)
    assert headings[:4] == ["method", "encoder", "runs", "linear top1"]
    assert [(row[0], row[2]) for row in rows] == [
        ("V", "1"), ("random init", ""), ("Tiny", "2"), ("random init", ""), ("chance", "")
    ]  # fmt: skip
    assert "±" in rows[2][3]
    assert rows[2][-1] == "UCF101 50.2"
    assert rows[-1][3] == "0.500"
    assert markdown(headings, rows).count("\n") == len(rows) + 2
    assert comma_separated(headings, rows).splitlines()[0].startswith("method,encoder,runs")
    console = Console(record=True, width=120)
    print_results(results, console)
    assert "random init" in console.export_text()
    names, gained = advantage(collect(runs))
    assert [(row[0], row[2]) for row in gained] == [("V", "1"), ("Tiny", "2")]
    gain = float(gained[1][names.index("linear top1")].split()[0])
    means = [float(row[headings.index("linear top1")].split()[0]) for row in rows[2:4]]
    assert gain == pytest.approx(means[0] - means[1], abs=0.0011)
    older = collect(runs)
    del older[1].outcomes["random_init"]["linear_sequence"]  # from before it was read; another run has it
    assert comparison(older, published)[1] == rows
    kept = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: kept.append(figure))
    pictures.comparison_picture(collect(runs), tmp_path / "methods.png")
    panels = kept[0].axes
    assert [axes.get_title() for axes in panels] == ["linear top1", "neighbours top1", "linear_sequence top1"]
    words = [tick.get_text() for tick in panels[0].get_yticklabels()]
    assert [word.partition("(")[0] for word in words] == ["R3D", "V", "ResNet", "Tiny"]
    dots = [line.get_xdata()[0] for line in panels[0].lines if line.get_marker() == "o"]
    values = [scores(result, "pretrained")["linear top1"].value for result in collect(runs)]
    assert sorted(dots) == sorted(values)
    kept_only = [{"pretrained": {"retrieval": one.outcomes["pretrained"]["retrieval"]}} for one in collect(runs)]
    broken = [replace(one, outcomes=outcomes) for one, outcomes in zip(collect(runs), kept_only, strict=True)]
    with pytest.raises(ValueError, match="a picture needs a read-out"):
        pictures.comparison_picture(broken, tmp_path / "methods.png")


def test_the_command(manifest, tmp_path):
    run = export(tmp_path / "run", R3D)
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ndata: {root: nowhere}\nlinear: {strengths: [0.1]}\nseeds: [0]\nretrieval: [1]\n"
        "views: {clips: 1, num_frames: 4, step: 0.1, size: 32}\n"
        "split: {class_path: avssl.evaluation.splits.LeaveOneGroupOut, init_args: {pattern: '" + PATTERN + "'}}\n"
    )
    options = [f"--data.root={manifest}", f"--run={run}", "--machine.workers=0", "--machine.cache=cache"]
    command = [sys.executable, str(ROOT / "tools" / "evaluate.py"), "tiny.yaml", *options]
    done = forked.run(command, cwd=tmp_path, check=True)
    assert "pretrained" in done.stdout
    assert (run / "eval" / "tiny" / "results.json").is_file()
    table = [sys.executable, str(ROOT / "tools" / "table.py"), str(run), "-o", "table.csv"]
    forked.run(table, cwd=tmp_path, check=True)
    assert (tmp_path / "table.csv").read_text().splitlines()[-1].startswith("chance,")
    forked.run([*table[:-1], "table.png"], cwd=tmp_path, check=True)
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    refused = forked.run([*table[:-1], "table.png", "--gain"], cwd=tmp_path)
    assert "leave --gain out" in refused.stderr
    forked.run([*table, "--gain"], cwd=tmp_path, check=True)
    assert (tmp_path / "table.csv").read_text().startswith("gain of,encoder,runs,linear top1")
    broken = [*command, "--split.init_args.pattern=(?P<group>scene[0-9])"]
    failed = forked.run(broken, cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("error: split: the pattern")


def test_pictures_of_the_embedding(manifest, tmp_path):
    machine = Machine(device="cpu", workers=0, cache=tmp_path / "cache")
    run = export(tmp_path / "run")
    for method in ("pca", "tsne"):
        files = embed(protocol_of(manifest), run, tmp_path / method, machine, method, queries=1)
        assert [path.name for path in files] == [f"map_{method}.png", "neighbours.png"]
        assert all(path.stat().st_size > 1000 for path in files)
    points = project(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32), "pca")
    assert points.shape == (9, 2)
    assert points[:, 0].var() > points[:, 1].var()


@pytest.mark.parametrize("name", ["ut_interaction", "folder", "ucf101", "hmdb51", "kinetics"])
def test_every_config_parses_and_unknown_keys_are_refused(name, tmp_path, capsys):
    words = [str(ROOT / "configs" / "eval" / f"{name}.yaml"), "--run=r"]
    protocol, args = parse(parser(None), [*words, "--views.clips=7", "--machine.workers=3", "--fine_tune=null"])
    assert (protocol.name, protocol.views.clips, args.machine.workers) == (name, 7, 3)
    assert protocol.fine_tune is None
    with pytest.raises(SystemExit):
        parse(parser(None), [*words, "--views.clip=7"])
    assert "clip" in capsys.readouterr().err
