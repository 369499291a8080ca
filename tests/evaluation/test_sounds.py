"""Sounds under published folds: ESC-50's, one list with both sides, several classes per recording."""

import wave

import numpy as np
import pytest

from avssl.cli.audio import run as command
from avssl.encoders import VGG, save_encoder
from avssl.evaluation.linear_svm import LinearSVM
from avssl.evaluation.readout import Bank
from avssl.evaluation.results import Results
from avssl.evaluation.sounds import GroupedFolds, NumberedFolds, TwoSides, gather
from avssl.evaluation.splits import Fold

CARD = {"mean": [0.5] * 3, "std": [0.2] * 3, "size": [32, 32], "method": "Tiny"}
HEAD = "filename,fold,target,category,esc10,src_file,take\n"


def write_tone(path, hertz, rng, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * sum(np.sin(2 * np.pi * pitch * np.arange(4000) / rate) for pitch in hertz)
    samples = samples / max(1, len(hertz)) + 0.01 * rng.standard_normal(4000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def esc50(tmp_path_factory):
    """Two classes, five folds, two clips of each recording, in the layout of the data set; and an encoder."""
    root, rng, rows = tmp_path_factory.mktemp("esc"), np.random.default_rng(0), []
    for fold in range(1, 6):
        for target, (category, hertz) in enumerate((("dog", 2500), ("rain", 300))):
            for take in "AB":
                name = f"{fold}-{fold}{target}032-{take}-{target}.wav"
                write_tone(root / "audio" / name, [hertz], rng)
                rows.append(f"{name},{fold},{target},{category},True,{fold}{target}032,{take}\n")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text(HEAD + "".join(rows))
    save_encoder(VGG(8), root / "run" / "audio_encoder", CARD)
    return root


def test_esc50_by_its_folds(esc50, tmp_path, capsys):
    machine = ["--machine.device=cpu", "--machine.workers=0"]
    words = ["esc50", f"--root={esc50 / 'audio'}", f"--split.init_args.labels={esc50 / 'meta' / 'esc50.csv'}"]
    words += [f"--run={esc50 / 'run'}", "--clips=2", "--seconds=0.3", *machine]
    with pytest.raises(ValueError, match=r"esc50: the lists show 2 classes, such as \['dog', 'rain'\], but .* has 50"):
        command(words)
    command([*words, "--classes=2", "--linear.strengths=[0.1]", "--svm.costs=[0.01,1]"])
    assert "log-mel spectrogram, svm top1: 1.000" in capsys.readouterr().out
    results = Results.read(esc50 / "run" / "eval" / "esc50" / "results.json")
    assert results.chance["top1"] == 0.5
    assert (results.protocol["videos"], results.protocol["shared"], results.protocol["missing"]) == (20, 0, 0)
    ours = results.outcomes["pretrained"]
    assert list(ours) == ["linear", "svm"]
    assert ours["svm"].top1.value > 0.9
    assert list(ours["svm"].top1.per_fold) == [f"fold{number}" for number in range(1, 6)]
    assert len(set(ours["svm"].units)) == 10  # both clips of a recording are one unit
    assert all(chosen in (0.01, 1.0) for chosen in ours["svm"].chosen[0])
    assert {"pretrained", "random_init", "log_mel"} == set(results.outcomes)


def test_other_lists_of_sounds_are_refused(esc50, tmp_path):
    rows = (esc50 / "meta" / "esc50.csv").read_text().splitlines()
    (tmp_path / "four.csv").write_text("\n".join([rows[0], *(row for row in rows[1:] if not row.startswith("5-"))]))
    with pytest.raises(ValueError, match=r"four\.csv: 4 folds \(1, 2, 3, 4\), but this protocol has 5"):
        gather(esc50 / "audio", NumberedFolds(tmp_path / "four.csv"))
    (tmp_path / "more.csv").write_text("\n".join([*rows, "9-1-A-0.wav,1,0,dog,True,1,A"]))
    with pytest.raises(ValueError, match=r"1 of 5 listed recordings \(1\) are not there, first \['9-1-A-0\.wav'\]"):
        gather(esc50 / "audio", NumberedFolds(tmp_path / "more.csv"))
    (tmp_path / "twice.csv").write_text("\n".join([*rows, rows[1].replace(",1,0,", ",2,0,")]))
    with pytest.raises(ValueError, match=r"line 22: 1-10032-A-0\.wav is trained on and tested"):
        gather(esc50 / "audio", NumberedFolds(tmp_path / "twice.csv"))
    with pytest.raises(FileNotFoundError, match="no such folder of sounds"):
        gather(tmp_path / "nowhere", NumberedFolds(tmp_path / "four.csv"))


def test_folds_of_a_table_of_ones_own_keep_groups_whole(esc50, tmp_path):
    names = sorted(path.name for path in (esc50 / "audio").iterdir())
    lines = [f"{name},{'dog' if name.endswith('-0.wav') else 'rain'},{name[:1]}" for name in names]
    table = tmp_path / "labels.csv"
    table.write_text("path,label,group\n" + "\n".join(lines))
    words = ["own", f"--root={esc50 / 'audio'}", f"--split.init_args.labels={table}", f"--run={esc50 / 'run'}"]
    command([*words, "--clips=1", "--seconds=0.3", "--linear.strengths=[0.1]", "--machine.workers=0"])
    results = Results.read(esc50 / "run" / "eval" / "own" / "results.json")
    assert results.outcomes["log_mel"]["linear"].top1.value == 1
    assert results.chance["top1"] == 0.5
    for seed in range(3):
        found = gather(esc50 / "audio", GroupedFolds(table, seed=seed))
        assert len(found.places) == 20
        assert found.shared == 0
        tested = [row for fold in found.folds.folds for row in fold.test]
        assert sorted(tested) == list(range(20))
        assert all(len({found.labels[row] for row in fold.test}) == 2 for fold in found.folds.folds)
    table.write_text("path,label\n" + "\n".join(line[:-2] for line in lines))
    assert len(set(gather(esc50 / "audio", GroupedFolds(table)).folds.groups)) == 20
    table.write_text("path,label,group\n" + "\n".join(lines).replace("rain,2", "snow,2"))
    with pytest.raises(ValueError, match=r"labels\.csv: class 'snow' has one group, too few for 5 folds"):
        gather(esc50 / "audio", GroupedFolds(table))
    table.write_text("path,label,group\n" + "\n".join(lines))
    with pytest.raises(ValueError, match="there are 5 groups, too few for 6 folds"):
        gather(esc50 / "audio", GroupedFolds(table, 6))


def test_vggsound_has_both_sides_in_one_list(tmp_path):
    for name in ("---g-f_I2yQ_000001", "--0PQM4-hqg_000030", "---g-f_I2yQ_000031"):
        (tmp_path / "sound" / f"{name}.wav").parent.mkdir(exist_ok=True)
        (tmp_path / "sound" / f"{name}.wav").write_bytes(b"")
    rows = (
        '---g-f_I2yQ,1,"people, talking",train\r\n--0PQM4-hqg,30,waterfall,train\r\n---g-f_I2yQ,31,waterfall,test\r\n'
    )
    (tmp_path / "vggsound.csv").write_text(rows, newline="")
    sounds = gather(tmp_path / "sound", TwoSides(tmp_path / "vggsound.csv", tmp_path / "vggsound.csv", "vggsound"))
    (fold,) = sounds.folds.folds
    assert (fold.train, fold.test, sounds.shared) == ((0, 1), (2,), 1)  # a recording on both sides is counted
    assert sounds.classes == ["people, talking", "waterfall"]


def test_audioset_is_ranked_by_average_precision(esc50, tmp_path):
    rng, pitch, lists = np.random.default_rng(1), {"/m/high": 2500, "/m/low": 300}, {}
    for side, count in (("train", 12), ("test", 8)):
        lines = ["# YTID, start_seconds, end_seconds, positive_labels"]
        for number in range(count):
            labels = [["/m/high"], ["/m/low"], ["/m/high", "/m/low"]][number % 3]
            write_tone(tmp_path / "sound" / f"{side}_video_{number}.wav", [pitch[label] for label in labels], rng)
            lines.append(f'{side}_video_{number}, 0.000, 0.500, "{",".join(labels)}"')
        lists[side] = tmp_path / f"{side}.csv"
        lists[side].write_text("\n".join(lines))
    words = ["audioset", f"--root={tmp_path / 'sound'}", f"--run={esc50 / 'run'}", "--classes=2", "--clips=1"]
    words += [f"--split.init_args.{side}={path}" for side, path in lists.items()]
    command([*words, "--seconds=0.4", "--linear.strengths=[0.1]", "--machine.device=cpu", "--machine.workers=0"])
    results = Results.read(esc50 / "run" / "eval" / "audioset" / "results.json")
    assert set(results.outcomes["pretrained"]["linear"].per_class) == {"/m/high", "/m/low"}
    assert results.outcomes["log_mel"]["linear"].value > 0.9
    assert 0.5 < results.chance["mAP"] < 0.9


def test_the_cost_is_chosen_without_the_test_labels_and_recordings_stay_whole():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(120) % 3, np.arange(120) // 6
    features = rng.normal(size=(3, 8))[labels] + rng.normal(size=(20, 8))[groups] + rng.normal(size=(120, 8))
    bank = Bank(features[:, None].astype(np.float32), labels, groups, 3)
    fold = Fold("f", tuple(range(84)), tuple(range(84, 120)))
    svm = LinearSVM(costs=(1e-4, 1e-2, 1.0))
    found = svm.scores(bank, fold)
    assert (found.values.mean(1).argmax(1) == labels[84:]).mean() > 0.5
    hidden = labels.copy()
    hidden[84:] = 0
    assert svm.scores(Bank(bank.features, hidden, groups, 3), fold).chosen == found.chosen
    two = Bank(bank.features, labels % 2, groups, 2)
    assert LinearSVM(costs=(1.0,)).scores(two, fold).values.shape == (36, 1, 2)
    with pytest.raises(ValueError, match="all training recordings are in one group"):
        svm.scores(Bank(bank.features, labels, np.zeros(120, dtype=int), 3), fold)
