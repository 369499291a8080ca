import csv
from types import SimpleNamespace

from avssl.recipe.logs import Bar, MetricsCSV


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_grow_and_floats_are_exact(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path, 0)
    log.log_metrics({"loss": 0.1, "epoch": 0}, 1)
    log.log_metrics({"val/accuracy": 1 / 3}, 2)
    log.log_metrics({"loss": 0.2}, 3)
    assert [row["step"] for row in rows(path)] == ["1", "2", "3"]
    assert float(rows(path)[1]["val/accuracy"]) == 1 / 3
    assert rows(path)[2] == {"step": "3", "loss": "0.2", "val/accuracy": ""}


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path, 0)
    for step in (1, 2, 3):
        log.log_metrics({"loss": float(step)}, step)
    MetricsCSV(path, 2).log_metrics({"loss": 30.0}, 3)
    assert [row["loss"] for row in rows(path)] == ["1.0", "2.0", "30.0"]


def test_a_progress_bar_shows_what_was_logged_last_and_reads_no_tensor():
    module = SimpleNamespace(shown={"loss": 0.25}, latest={"loss": None})
    assert Bar().get_metrics(None, module) == {"loss": "0.250"}
