import math
from pathlib import Path

import pytest

from avssl.evaluation import config as evaluation
from avssl.runtime.checks import check_ranges
from avssl.training import config as training


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[1, inf)", [1, 2.5, None, (1, 3)], [0, -1, math.inf, math.nan, (1, 0)]),
        ("(0, 1)", [0.5], [0, 1, math.nan]),
        ("[0, 1]", [0, 1, 0.5, []], [-0.1, 1.1]),
        ("(0, inf]", [math.inf], [0]),
    ],
)
def test_what_is_outside_is_refused_by_name(interval, inside, outside):
    for value in inside:
        check_ranges("data", {"share": value}, share=interval)
    for value in outside:
        with pytest.raises(ValueError, match=r"^data\.share is .*: expected .* in "):
            check_ranges("data", {"share": value}, share=interval)


def test_options_of_every_kind_name_the_key():
    from avssl.avsync.executors import Execution
    from avssl.catalog.copies import prepare
    from avssl.catalog.encode import CopyOptions
    from avssl.catalog.index import build_index
    from avssl.data.transforms import Augment
    from avssl.evaluation.features import Views
    from avssl.evaluation.finetune import Budget
    from avssl.evaluation.probes import LinearProbe, NearestNeighbours
    from avssl.evaluation.protocol import LowShot
    from avssl.runtime.device import Machine
    from avssl.training import Data

    def data(**values):
        return Data(transform=Augment(), **values)

    wrong = [(data, "batch_size", 0), (data, "batch_size", -2), (data, "workers", -1), (data, "held_out", 1.0)]
    wrong += [(data, "rounds", 0), (data, "labelled", 1.5), (data, "max_bad", -1.0), (data, "timeout", 0.0)]
    wrong += [
        (data, "audio_rate", 0),
        (data, "repeats", 0),
        (data, "weights", [0.0]),
        (Views, "clips", 0),
        (Budget, "steps", 0),
        (LowShot, "shots", (1, 0)),
    ]
    wrong += [(LinearProbe, "strengths", (0.0,)), (NearestNeighbours, "ks", (0,)), (Machine, "workers", -1)]
    wrong += [(CopyOptions, "gop", 0), (CopyOptions, "crf", 52.0), (Execution, "workers", 0)]
    for kind, name, value in wrong:
        with pytest.raises(ValueError, match=rf"{name} is "):
            kind(**{name: value})
    with pytest.raises(ValueError, match="workers is 0"):
        build_index("/nowhere", "/nowhere/videos.parquet", workers=0)  # before anything is read
    with pytest.raises(ValueError, match="timeout is -1"):
        prepare(None, "/nowhere", timeout=-1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--seed=-1", "seed is -1"),
        ("--warmup=2", "warmup is 2"),
        ("--measure_every=0", "measure_every is 0"),
        ("--checkpoint_minutes=-1", "checkpoint_minutes is -1"),
        ("--trainer.log_every_n_steps=0", "trainer.log_every_n_steps is 0"),
    ],
)
def test_a_run_is_refused_before_anything_is_read(option, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        training.parse(["rotnet", "--data.root=/nowhere", option])


def test_an_evaluation_names_the_value_in_one_line_and_takes_lists():
    def parsed(option):
        return evaluation.parse(evaluation.parser(None), ["ut_interaction", "--run=x", option])[0]

    for option, message in [("--fine_tune.steps=0", "steps is 0"), ("--views.clips=0", r"views\.clips is 0")]:
        with pytest.raises(ValueError, match=rf"^{message}: expected a number in \[1, inf\)$"):
            parsed(option)
    assert parsed("--data.root=[a,b]").data.root == (Path("a"), Path("b"))
    assert parsed("--data.root=a").data.root == Path("a")
