"""An encoder is evaluated without a run, by its own statistics, and becomes a row beside its baselines."""

import json
import shutil

import pytest
import torch
import yaml
from test_transfer import CARD, protocol_of

from avssl.cli import main
from avssl.encoders import R3D, AudioResNet, HuggingFace, ResNet, load_encoder, save_encoder, weights_hash
from avssl.evaluation.given import ELSEWHERE, place
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.record import random_init
from avssl.evaluation.report import advantage, collect, comparison
from avssl.evaluation.run import evaluate, subject
from avssl.runtime.device import Machine

STILL = [
    "--layout=null",
    "--layout_mean=null",
    "--linear.strengths=[0.01]",
    "--neighbours=null",
    "--retrieval=[]",
    "--seeds=[0]",
    "--machine.device=cpu",
]


@pytest.fixture(scope="module")
def evaluated(collection, tmp_path_factory):
    """A new network named on the command line, and a "pretrained" one of the same kind that is handed in."""
    folder = tmp_path_factory.mktemp("given")
    collection.write(folder / "videos.parquet")
    pattern = "--split.init_args.pattern=(?P<part>set[12])_(?P<group>seq[0-9]+)_"
    words = ["evaluate", "ut_interaction", f"--data.root={folder / 'videos.parquet'}", pattern, "--name=tiny"]
    words += ["--views={clips: 2, num_frames: 4, step: 0.1, size: 32, segments: 2}", "--low_shot=null", *STILL]
    words += ["--fine_tune=null", "--machine.workers=0", f"--machine.cache={folder / 'cache'}"]
    new = [f"--run={folder / 'new'}", "--encoder=avssl.encoders.ResNet", "--encoder.width=8"]
    assert main([*words, *new]) == 0
    torch.manual_seed(5)
    encoder = ResNet(width=8)
    encoder.card = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": [48, 48]}
    protocol = protocol_of(
        folder / "videos.parquet",
        **{
            "seeds": (),
            "linear": LinearProbe(strengths=(0.01,)),
            "neighbours": None,
            "retrieval": (),
            "ordered": False,
        },
    )
    evaluate(protocol, folder / "theirs", Machine("cpu", workers=0, cache=folder / "cache"), encoder)
    return folder, words, new, encoder


def test_the_folder_is_a_run_afterwards(evaluated):
    folder, words, new, encoder = evaluated
    assert weights_hash(load_encoder(folder / "theirs")) == weights_hash(encoder)
    assert load_encoder(folder / "theirs").card["mean"] == [0.5] * 3
    assert load_encoder(folder / "theirs").card["size"] == [48, 48]
    first = (folder / "new" / "encoder" / "encoder.safetensors").stat().st_mtime_ns
    assert main([*words, *new]) == 0  # the same new network again
    assert (folder / "new" / "encoder" / "encoder.safetensors").stat().st_mtime_ns == first


def test_tables_put_it_beside_its_baselines(evaluated):
    folder, *_ = evaluated
    results = collect([folder / "new", folder / "theirs"], "tiny")
    _, rows = comparison(results)
    names = [row[0] for row in rows]
    assert names == [f"{ELSEWHERE} (theirs)", "random init", "untrained", "chance"]
    assert rows[1][3:] == rows[2][3:]  # a new network is its own baseline: seed 0
    assert set(results[0].outcomes["pretrained"]) == {"linear", "linear_ordered", "linear_sequence"}
    assert set(results[1].outcomes["pretrained"]) == {"linear"}  # without order, or random seeds
    assert "random_init" not in results[1].outcomes
    headings, rows = advantage(results[1:], over=results[0])
    assert headings[0] == "gain over new of"
    assert rows[0][0] == f"{ELSEWHERE} (theirs)"
    ours, base = (result.summary("linear").top1.value for result in reversed(results))
    assert rows[0][3].startswith(f"{ours - base:+.3f} [")


def test_the_command_prints_the_paired_gain(evaluated, capsys):
    folder, *_ = evaluated
    assert main(["table", str(folder / "theirs"), "--protocol=tiny", "--over", str(folder / "new")]) == 0
    assert "gain over" in capsys.readouterr().out


def test_an_export_tells_its_results(evaluated):
    folder, *_ = evaluated
    (folder / "theirs" / "held_out.json").write_text(
        json.dumps({"metrics": {"accuracy": {"mean": 0.5, "low": 0.25, "high": 0.75}}, "collapse": {}})
    )
    assert main(["export", str(folder / "theirs"), "-o", str(folder / "out")]) == 0
    assert load_encoder(folder / "out").card["mean"] == [0.5] * 3
    _, front, text = (folder / "out" / "README.md").read_text().split("---\n", 2)
    (indexed,) = yaml.safe_load(front)["model-index"][0]["results"]
    (result,) = collect([folder / "theirs"], "tiny")
    told = {metric["name"]: metric["value"] for metric in indexed["metrics"]}
    assert told["linear top1"] == result.summary("linear").top1.value
    assert "Protocol tiny, 8 recordings" in text
    assert "| accuracy | 0.500 [0.250, 0.750] |" in text
    assert f"| method | {ELSEWHERE} (theirs) |" in text
    assert "mean 0.5, 0.5, 0.5" in text


def test_another_encoder_does_not_take_a_runs_place(evaluated, capsys):
    folder, words, *_ = evaluated
    other = ["--encoder=avssl.encoders.R3D", "--encoder.width=8"]
    assert main([*words, f"--run={folder / 'new'}", *other]) == 2
    assert "holds an encoder of other weights" in capsys.readouterr().err
    changed = ResNet(width=8)
    changed.load_state_dict(load_encoder(folder / "theirs").state_dict())
    changed.card = {**load_encoder(folder / "theirs").card, "std": [0.3] * 3}
    with pytest.raises(ValueError, match="other statistics of pixels"):
        place(changed, folder / "theirs", 32)


def test_its_own_size_is_shown_where_asked_for(tmp_path, collection, capsys):
    protocol = protocol_of(tmp_path / "videos.parquet")
    encoder = R3D(width=8)
    encoder.card = {**CARD, "size": [48, 48]}
    assert subject(protocol, tmp_path / "run", encoder, own_size=True)[1].views.size == 48
    assert subject(protocol, tmp_path / "run", None, own_size=False)[1] is protocol
    assert "the encoder is used to 48 x 48" in capsys.readouterr().out
    save_encoder(encoder, tmp_path / "wide" / "encoder", {**CARD, "size": [48, 64]})
    with pytest.raises(ValueError, match="views are square"):
        subject(protocol, tmp_path / "wide", None, own_size=True)


def test_networks_over_sound_have_a_place_of_their_own(tmp_path):
    given = AudioResNet(width=8)
    found = place(given, tmp_path, 32)
    assert weights_hash(found) == weights_hash(given)
    assert (tmp_path / "audio_encoder" / "encoder.safetensors").exists()


def test_the_baseline_of_loaded_weights_is_the_same_network_with_new_ones(tmp_path):
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(**small, image_size=32, patch_size=16, num_frames=4)
    transformers.VideoMAEModel(config).save_pretrained(tmp_path / "theirs")
    loaded = place(HuggingFace(str(tmp_path / "theirs")), tmp_path / "run", 32)
    shutil.rmtree(tmp_path / "theirs")  # an export needs it no more
    fresh, again, other = (random_init(load_encoder(tmp_path / "run"), seed) for seed in (0, 0, 1))
    assert weights_hash(fresh) == weights_hash(again)
    assert len({weights_hash(each) for each in (loaded, fresh, other)}) == 3
    assert fresh.card["mean"] == loaded.card["mean"]
    assert loaded.card["method"] == f"{ELSEWHERE} (run)"
