"""The site builds without warnings, and its reference holds what people import."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]* (?:src|href)="https?:[^"]*"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("index", "avssl.pretrain"),
        ("index", "avssl.load_encoder"),
        ("media", "avssl.media.open_video"),
        ("catalog", "avssl.catalog.build_index"),
        ("data", "avssl.data.ClipDataset"),
        ("encoders", "avssl.encoders.R3D"),
        ("methods", "avssl.methods.SimCLR"),
        ("methods", "avssl.methods.losses.info_nce"),
        ("evaluation", "avssl.evaluation.evaluate"),
        ("training", "avssl.training.Data"),
    ],
)
def test_reference_has(site, page, name):
    path = site / "reference" / ("" if page == "index" else page) / "index.html"
    assert f'id="{name}"' in path.read_text(encoding="utf-8"), f"{path} does not document {name}"


def test_every_room_has_a_reference_page(site):
    rooms = {path.parent.name for path in (ROOT / "avssl").glob("*/__init__.py")}
    assert {path.parent.name for path in (site / "reference").glob("*/index.html")} == rooms


def test_every_page_is_searchable_and_nothing_is_fetched(site):
    pages = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".ipynb")]
    assert len(list(site.rglob("index.html"))) == len(pages)
    assert (site / "search" / "search_index.json").stat().st_size > 100_000
    for path in site.rglob("index.html"):
        fetched = FETCHED.findall(path.read_text(encoding="utf-8"))
        assert not fetched, f"{path} loads from the network: {fetched}"
