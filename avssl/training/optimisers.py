"""Optimisers beside torch's that a config may name."""

from avssl.recipe.lars import LARS as LARS
from avssl.recipe.muon import Muon as Muon
