"""``avssl new-method``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from avssl.runtime.parser import Parser

MODULE = '''"""{title}.

AUTHORS: TITLE. VENUE YEAR.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured


class {name}(Method):
    """Decide which of two clips of a video comes first. Put the paper's task here.

    Metric: ``accuracy``; chance is 0.5.

    Args:
        encoder: clip or frame encoder.
        sampler: draws two clips.
    """

    sampler: RandomClips

    def __init__(self, encoder: Encoder, sampler: RandomClips | None = None) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=2, num_frames=8, step=0.08))
        self.head = nn.Linear(2 * encoder.num_features, 1)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss and the accuracy over B videos."""
        features = self.encoder(clips.video.flatten(0, 1)).view(len(clips), -1)  # [B, 2 D]
        score = self.head(features).squeeze(1).float()  # [B]
        target = in_order(clips.times)
        loss = F.binary_cross_entropy_with_logits(score, target.float())
        return measured(clips, loss, accuracy=((score > 0) == target, 0.5))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return which clip comes first, for both clips of each video."""
        return [["first", "second"] if yes else ["second", "first"] for yes in in_order(clips.times).tolist()]


def in_order(times: Tensor) -> Tensor:
    """Return for ``[B, 2, T]`` seconds whether the first clip is the earlier one, ``[B]`` bool."""
    return times[:, 0, 0] < times[:, 1, 0]
'''
CONFIG = """# {title} (AUTHORS, VENUE YEAR): which of two clips comes first?
#   avssl train {module}
name: {module}
method:
  class_path: avssl.methods.{name}
  init_args:
    encoder:
      class_path: avssl.encoders.R3D
      init_args: {{width: 16}}
    sampler: {{clips: 2, num_frames: 8, step: 0.08}}
data:
  root: synthetic
  batch_size: 16
  transform:
    class_path: avssl.data.transforms.Augment
    init_args: {{size: 64, scale: [0.6, 1.0]}}
optimizer:
  class_path: torch.optim.AdamW
  init_args: {{lr: 1e-3, weight_decay: 0.05}}
trainer:
  max_steps: 500
"""
PAGE = """# {title}

AUTHORS: *TITLE*, VENUE YEAR.

    avssl train {module}

**Task.** Which of two clips of a video comes first?

**Network.** The encoder, and a linear layer on the features of both clips.

**Target.** The order of the clips' first timestamps.

**Metric.** Accuracy; chance is 0.5.

**Differences from the paper.**

**Shortcuts.**
"""


def parser() -> Parser:
    """Return the parser of ``avssl new-method``."""
    made = Parser(
        prog="avssl new-method",
        description="Write a working skeleton of a pretext task into a clone of avssl: a module, its line in "
        "avssl/methods/__init__.pyi, a config and a page. tests/test_methods.py tests it without a new line.",
        examples=["avssl new-method my_task", "python -m pytest tests/test_methods.py -k my_task"],
    )
    made.add_argument("name", help="module name, such as my_task")
    made.add_argument("--room", type=Literal["frame", "temporal", "audiovisual"], default="temporal", help="its room")
    made.add_argument("--root", type=Path, default=Path(), help="root of the clone (default: the current folder)")
    return made


def run(words: Sequence[str]) -> None:
    """Write the skeleton, and print the paths of its files."""
    args = parser().parse_args(words)
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", args.name):
        raise ValueError(f"{args.name!r}: expected a module name in lower case, such as my_task")
    parts = args.name.split("_")
    texts = {"module": args.name, "name": "".join(map(str.capitalize, parts)), "title": " ".join(parts).capitalize()}
    stub = args.root / "avssl/methods/__init__.pyi"
    lines = stub.read_text(encoding="utf-8").splitlines()
    files = {
        args.root / f"avssl/methods/{args.room}/{args.name}.py": MODULE,
        args.root / f"configs/{args.name}.yaml": CONFIG,
        args.root / f"docs/methods/{args.name}.md": PAGE,
    }
    for path in files:
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another name")
    for path, text in files.items():
        path.write_text(text.format(**texts), encoding="utf-8")
        print(path)
    line = f"from .{args.room}.{args.name} import {texts['name']} as {texts['name']}"
    later = (place for place, other in enumerate(lines) if other.startswith("from .") and other > line)
    lines.insert(next(later, len(lines)), line)
    stub.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(stub)
