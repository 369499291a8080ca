"""``avssl anomaly``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from avssl.applications.anomaly.measuring import Normal, images_protocol, one_class, print_one_class
from avssl.evaluation import config, given
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser
