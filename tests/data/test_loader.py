import json
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.data.dataset import ClipDataset
from avssl.data.loader import ClipLoader, InOrder, Steps
from avssl.data.quarantine import Quarantine
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Squash
from avssl.media import Store, stores
from avssl.media.source import SourceError

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import serving


@given(st.integers(4, 40), st.sampled_from([1, 2, 4]), st.integers(0, 9), st.integers(0, 99))
def test_ranks_share_every_batch_and_an_epoch_repeats_nothing(videos, world, start, seed):
    whole = list(Steps(videos, 4, 12, seed=seed))
    assert all(len(batch) == 4 for batch in whole)
    ranks = [list(Steps(videos, 4, 12, start, seed, rank, world)) for rank in range(world)]
    for step, shares in enumerate(zip(*ranks, strict=True)):
        assert sorted(item for share in shares for item in share) == sorted(whole[start + step])
    per_epoch = videos // 4
    first = [item for batch in whole[: min(per_epoch, 12)] for item in batch]
    assert len(set(first)) == len(first)


@given(st.integers(8, 40), st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]), st.integers(0, 99))
def test_the_parts_of_a_step_are_the_batch_of_one_that_is_not_accumulated(videos, world, accumulate, seed):
    whole = list(Steps(videos, 8, 6, seed=seed))
    size = 8 // accumulate
    ranks = [list(Steps(videos, size, 6 * accumulate, 0, seed, rank, world, accumulate)) for rank in range(world)]
    for step, items in enumerate(whole):
        parts = [item for shares in ranks for part in shares[step * accumulate :][:accumulate] for item in part]
        assert sorted(parts) == sorted(items)


def test_epochs_are_shuffled_anew():
    epochs = list(Steps(8, 8, 2))
    assert [index for _, index in epochs[0]] != [index for _, index in epochs[1]]
    assert sorted(index for _, index in epochs[1]) == list(range(8))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 3))
def test_in_order_visits_every_video_once_a_round(videos, batch, rounds):
    batches = InOrder(videos, batch, rounds)
    seen = [item for items in batches for item in items]
    assert seen == [(r, v) for r in range(rounds) for v in range(videos)]
    assert len(list(batches)) == len(batches)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 3), st.integers(1, 5), st.integers(0, 3))
def test_processes_share_the_batches_of_an_evaluation_and_load_equally_many(videos, batch, rounds, world, start):
    chosen = tuple(range(0, videos, 2))
    whole = list(InOrder(videos, batch, rounds, chosen=chosen))
    assert [video for items in whole for _, video in items] == rounds * list(chosen)
    found = {}
    for rank in range(world):
        own = InOrder(videos, batch, rounds, 0, rank, world, chosen)
        assert len(own) == -(-len(whole) // world) == len(list(own))
        found |= {number: items for number, items in zip(own.numbers, own, strict=True) if number < own.total}
        assert list(own)[start:] == list(replace(own, start=start))
    assert [found[number] for number in range(len(whole))] == whole


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="only 3"):
        Steps(3, 4, 1)
    with pytest.raises(ValueError, match=r"batch_size=4 is less than one video for each of 5"):
        Steps(8, 4, 1, world=5)
    with pytest.raises(ValueError, match=r"lower data.batch_size=4 or recipe.accumulate=3"):
        Steps(11, 4, 3, accumulate=3)


@pytest.mark.parametrize(("batch", "world"), [(6, 4), (5, 3), (7, 2)])
def test_ranks_read_equally_many_even_if_they_do_not_divide_a_batch(batch, world):
    ranks = [list(Steps(batch * 4 + 1, batch, 12, rank=rank, world=world)) for rank in range(world)]
    sizes = [{len(share) for share in shares} for shares in zip(*ranks, strict=True)]
    assert all(len(every) == 1 for every in sizes)
    assert abs(sum(size for every in sizes for size in every) * world - 12 * batch) < 3 * world  # of three epochs
    epoch = [item for share in ranks for items in share[:4] for item in items]
    assert len(set(epoch)) == len(epoch)
    assert [next(iter(Steps(batch * 4 + 1, batch, 12, 5, rank=1, world=world)))] == ranks[1][5:6]


class Trap(Squash):
    """Does something terrible to its process when it meets the picture of one video, given by its mean."""

    def __init__(self, size, victim, deed):
        super().__init__(size)
        self.victim, self.deed = victim, deed

    def __call__(self, clip):
        if torch.equal(clip[0], self.victim):
            if self.deed == "hang":
                time.sleep(1000)
            os.kill(os.getpid(), 9)
        return clip


def loader(world, workers, transform=None, quarantine=None, **options):
    dataset = ClipDataset(open_manifest(world), RandomClips(1, 2, 0.1), transform or Squash(32))
    if quarantine is not None:
        dataset.quarantine.keep_in(quarantine)
    return ClipLoader(dataset, Steps(len(dataset), 4, 8), workers, **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(world, workers):
    expected = [(clips.video, clips.times) for clips in loader(world, 0)]
    for clips, (video, times) in zip(loader(world, workers), expected, strict=True):
        assert torch.equal(clips.video, video)
        assert torch.equal(clips.times, times)


def test_a_loader_goes_on_where_another_stood(world):
    whole = [clips.times for clips in loader(world, 0)]
    first = loader(world, 0)
    running = iter(first)
    next(running), next(running), next(running)
    second = loader(world, 0)
    second.load_state_dict(first.state_dict())
    assert len(second) == 8
    for clips, expected in zip(second, whole[3:], strict=True):
        assert torch.equal(clips.times, expected)


@pytest.mark.parametrize("deed", ["hang", "die"])
def test_a_worker_that_hangs_or_dies_costs_one_named_file(world, tmp_path, deed, capsys):
    plain = [clips.video for clips in loader(world, 0)]
    victim = plain[2][1, 0, 0]  # first frame of the second item of the third batch
    note = tmp_path / "quarantine.jsonl"
    timeout = 6.0 if deed == "hang" else 600.0  # a dead worker isn't waited for
    trapped = loader(world, 2, Trap(32, victim, deed), timeout=timeout, quarantine=note, max_bad=0.2)
    batches = [clips.video for clips in trapped]
    assert len(batches) == 8
    same = [torch.equal(one, other) for one, other in zip(batches, plain, strict=True)]
    assert not same[2]
    assert torch.equal(batches[2][0], plain[2][0])
    assert sum(same) >= 6  # only batches with that video differ
    entries = [json.loads(line) for line in note.read_text().splitlines()]
    assert [entry["code"] for entry in entries] == ["timeout" if deed == "hang" else "crashed"]
    assert entries[0]["path"] in capsys.readouterr().out
    again = loader(world, 0, quarantine=note, max_bad=0.2)  # a resumed run does not try it again
    assert list(again.dataset.quarantine.failures) == [entries[0]["row"]]
    for one, other in zip(again, batches, strict=True):
        assert torch.equal(one.video, other)


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError()])
def test_a_worker_whose_pipe_closes_before_it_is_dead_is_found(world, error):
    """So it is where a worker dies while its last batch is fetched."""
    worker = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(0.5,))
    worker.start()
    quarantine = Quarantine(open_manifest(world))
    quarantine.in_flight = torch.tensor([[3, worker.pid, time.monotonic_ns()], [-1, -1, -1]])
    assert [(failure.row, failure.code) for failure in quarantine.culprits(error, 300.0)] == [(3, "crashed")]
    worker.join()


def test_too_many_unreadable_files_stop_the_run(world, tmp_path):
    for source in sorted(world.rglob("*.mp4"))[:8]:
        (tmp_path / source.name).write_bytes(source.read_bytes())
    videos = open_manifest(tmp_path)
    for path in sorted(tmp_path.glob("*.mp4"))[:3]:
        path.write_bytes(b"no longer a video")
    dataset = ClipDataset(videos, RandomClips(1, 2, 0.1), Squash(32))
    with pytest.raises(ValueError, match=r"2 of 8 videos can't be read, more than data\.max_bad=1%"):
        list(ClipLoader(dataset, Steps(8, 4, 4), workers=0))


@pytest.mark.parametrize(("fault", "why"), [("trickle", "timeout"), ("403", "denied")])
def test_a_store_that_stalls_or_refuses_stops_the_run_and_says_nothing_against_a_file(
    world, tmp_path, monkeypatch, fault, why
):
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.setenv(stores.ENVIRONMENT, '{"stores": {}}')
    rows = open_manifest(world).to_rows()[:8]
    with serving() as server:
        server.fault = lambda number: fault if number > 9 else None
        stores.name_stores({"web": Store(server.url, allow_http=True, deadline=900.0)})  # longer than the loader waits
        for row in rows:
            server.objects[f"/{row['path']}"] = (Path(row["root"]) / row["path"]).read_bytes()
            row |= {"store": "web", "mtime_ns": None}
        dataset = ClipDataset(Manifest.from_rows(rows), RandomClips(1, 2, 0.1), Squash(32))
        dataset.quarantine.keep_in(tmp_path / "quarantine.jsonl")
        loader = ClipLoader(dataset, Steps(8, 4, 8), workers=1, timeout=5.0)
        with pytest.raises(SourceError, match=rf"^web:.*\.mp4: .*\[{why}\]"):
            list(loader)
    assert loader.position == 2
    assert len(dataset.quarantine) == 0
    assert not (tmp_path / "quarantine.jsonl").exists()
