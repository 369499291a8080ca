from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from flashclick import RECIPES, write

OPTIONAL = [name for name in ("torchcodec", "decord") if importlib.util.find_spec(name)]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every recording of the matrix, by name."""
    folder = tmp_path_factory.mktemp("films")
    return {recipe.name: write(recipe, folder) for recipe in RECIPES}
