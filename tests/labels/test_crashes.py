from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avssl.labels import Crashes, read_actions
from avssl.media import probe

TIMES = torch.tensor([[0.0, 0.25, 0.5, 0.75], [0.5, 0.75, 1.0, 1.25]], dtype=torch.float64)


def table(rows, header="seconds,steering,speed,collided"):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.fixture
def info(world):
    return probe(sorted(world.glob("*/*.mp4"))[0])


@pytest.fixture
def recorded(tmp_path: Path, info):
    """Actions ten times a second: from 1.3 s on to the left; a crash at 1.43 s; backwards from 1.5 s on."""
    rows = [(100 + k / 10, 0.5 if k >= 13 else -0.25, -1 if k >= 15 else 2, int(k == 14)) for k in range(40)]
    (tmp_path / f"{Path(info.path).stem}.csv").write_text(table(rows))
    return Crashes(tmp_path, horizon=4, step=0.25)


def test_steerings_are_those_when_steps_begin_and_a_crash_counts_from_its_step_on(info, recorded):
    target = recorded(torch.empty(2, 4, 3, 1, 1), TIMES, info)
    assert target.shape == (2, 4, 2)
    # steps from 0.75, 1.0, 1.25 (in which it crashes) and 1.5 s
    torch.testing.assert_close(target[0], torch.tensor([[-0.25, 0], [-0.25, 0], [-0.25, 1], [0, 1]]))
    torch.testing.assert_close(target[1], torch.tensor([[-0.25, 1], [0.0, 1], [0, 1], [0, 1]]))


def test_while_it_backs_up_nothing_is_known(info, recorded):
    target = recorded(torch.empty(2, 4, 3, 1, 1), TIMES + 0.8, info)
    assert (target[0, :, 1] == -1).all()


def test_seconds_of_a_segment_count_from_its_own_start(info, recorded):
    later = recorded(torch.empty(2, 4, 3, 1, 1), TIMES - 0.5, replace(info, start=0.5))
    torch.testing.assert_close(later, recorded(torch.empty(2, 4, 3, 1, 1), TIMES, info))


def test_actions_that_end_too_early_or_are_not_there(info, recorded, tmp_path):
    with pytest.raises(ValueError, match=r"actions from 0.00 to 4.00 s, but 3.75 to 5.25 s are asked for"):
        recorded(torch.empty(2, 4, 3, 1, 1), TIMES + 3.0, info)
    with pytest.raises(ValueError, match="no actions at"):
        Crashes()(torch.empty(2, 4, 3, 1, 1), TIMES, info)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table([(0, 0, 2, 0), (1, 0, 2, 0)], "seconds,steering,collided,x"), "no column speed"),
        (table([(0, 0, 2, 0)]), "1 rows of actions"),
        (table([(0, 0, 2, 0), (0, 0, 2, 0)]), "row 2: seconds do not increase"),
        (table([(0, 0, 2, 0), (1, -3, 2, 0)]), "steering is -3: scale it"),
        (table([(0, 0, 2, 0), (1, 0, 2, 4)]), "collided must be 0 or 1"),
        (table([(0, 0, 2, 0), (1, "left", 2, 0)]), "row 2: steering is not a number"),
    ],
)
def test_files_that_are_no_actions(text, message, tmp_path):
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_actions(path)
