"""Clusters, how they are judged, near duplicates, and the command's files."""

import csv
import json

import numpy as np
import pytest
import torch

from avssl.applications.cluster import judging
from avssl.applications.cluster.clustering import cluster_videos
from avssl.applications.cluster.duplicates import groups_table, near_duplicates
from avssl.applications.cluster.grouping import choose, cluster, expressions, standardised, unit
from avssl.applications.cluster.judging import MEASURES, accuracy, against_labels, by_chance, stability
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.evaluation.features import Views
from avssl.runtime.device import Machine


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """Resample little: intervals are as wide, only coarser."""
    for name, count in {"DRAWS": 40, "SHUFFLES": 30, "PARTS": 4}.items():
        monkeypatch.setattr(judging, name, count)


def blobs(classes=4, each=25, width=12, apart=4.0):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    return (apart * rng.normal(size=(classes, width))[labels] + rng.normal(size=(len(labels), width))).astype(
        np.float32
    ), labels


@pytest.mark.parametrize("how", ["kmeans", "spectral", "self_expressive"])
def test_well_separated_classes_are_found_and_shuffled_labels_are_at_chance(how):
    features, labels = blobs()
    vectors = standardised(features) if how == "self_expressive" else unit(features)
    found = cluster(vectors, 4, how)
    groups = np.arange(len(labels)) % 20
    scores = against_labels(labels, found, groups.tolist())
    assert all(score.value > 0.95 for score in scores.values())
    mixed = np.random.default_rng(1).permutation(labels)
    chance = by_chance(mixed, found)
    for name, score in against_labels(mixed, found, groups.tolist()).items():
        assert score.value == pytest.approx(chance[name], abs=0.06), name
    assert stability(lambda rows: cluster(vectors[rows], 4, how), found, groups.tolist()).value > 0.95
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_the_number_of_clusters_is_found():
    assert choose(unit(blobs()[0]), "kmeans", 1.0, 0)[0] == 4
    with pytest.raises(ValueError, match="too few to choose"):
        choose(unit(blobs(each=1)[0]), "kmeans", 1.0, 0)


def test_expression_is_the_least_squares_solution():
    vectors = standardised(blobs(each=5)[0]).astype(np.float64)
    products = vectors @ vectors.T
    size = 0.5 * np.trace(products) / min(vectors.shape)
    wanted = torch.from_numpy(np.zeros_like(products)).requires_grad_()
    known = torch.from_numpy(vectors)
    solver = torch.optim.LBFGS([wanted], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        value = (known - wanted @ known).square().sum() + size * wanted.square().sum()
        value.backward()
        return value

    solver.step(loss)
    np.testing.assert_allclose(expressions(vectors, 0.5), wanted.detach().numpy(), atol=1e-5)


def test_measures_know_renamed_clusters_and_one_cluster_for_all():
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert all(measure(labels, np.array([2, 2, 0, 0, 1, 1])) == pytest.approx(1) for measure in MEASURES.values())
    assert accuracy(labels, np.zeros(6, np.int64)) == pytest.approx(1 / 3)


def test_duplicates_join_groups():
    rows = [{"root": "/v", "path": f"{n}.mp4", "status": "ok", "label": "a", "group": g} for n, g in enumerate("xxyzz")]
    vectors = np.array([[1, 0], [0, 1], [1, 1e-3], [0.7, -0.7], [-1, 0]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sets, pairs = near_duplicates(vectors, 0.99)
    assert [pair[:2] for pair in pairs] == [(0, 2)]
    table = list(csv.DictReader(groups_table(Manifest.from_rows(rows), sets).splitlines()))
    assert [row["group"] for row in table] == ["x", "x", "x", "z", "z"]


def test_a_collection_is_clustered_and_its_groups_are_indexed(world, run, tmp_path):
    views, machine = (
        Views(clips=1, num_frames=4, step=0.1, size=16, segments=1),
        Machine(workers=0, cache=tmp_path / "c"),
    )
    out = tmp_path / "out"
    found = cluster_videos(world, [run], out, clusters=3, views=views, machine=machine, sheet_videos=4, alike=0.9)
    assert list(found.found) == ["mine", "untrained R3D", "motion energy"]
    assert (found.videos, found.labelled, found.classes) == (24, 24, 8)
    kept = json.loads((out / "cluster.json").read_text())
    assert kept["found"]["mine"]["sizes"] == sorted(found.found["mine"].sizes, reverse=True)
    assert len(list(csv.DictReader((out / "clusters.csv").open()))) == 24
    assert all((out / f"cluster_{number:02d}.png").stat().st_size > 3000 for number in range(3))
    assert (out / "index.html").read_text().count("<img") == 3
    indexed = build_index(world, tmp_path / "videos.parquet", labels=out / "groups.csv", workers=1, motion=False)
    rows = {row["path"]: row["group"] for row in csv.DictReader((out / "groups.csv").open())}
    assert dict(zip(indexed.keys.to_pylist(), indexed.column("group").to_pylist(), strict=True)) == rows
    assert indexed.classes == open_manifest(world).classes


def test_one_group_is_refused(world, run, tmp_path):
    one = open_manifest(world).select(range(2))
    one.write(tmp_path / "two.parquet")
    with pytest.raises(ValueError, match="at least three groups"):
        cluster_videos(tmp_path / "two.parquet", [run], tmp_path / "out")
