"""Measure the sound side of a run: synchrony on videos in sync, or a linear probe of its audio encoder.

python tools/evaluate_av.py sync VIDEOS --run=runs/syncnet [--held_out=0.15]
python tools/evaluate_av.py audio SOUNDS --run=runs/syncnet
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from avssl.catalog.index import open_manifest
from avssl.evaluation.audio import audio_probe
from avssl.evaluation.synchrony import measure_synchrony
from avssl.media import MediaError
from avssl.synthetic import World, write_world
from avssl.training.data import SYNTHETIC, split


def main() -> None:
    """Parse, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("sync", "audio"))
    parser.add_argument("root", help="a folder or manifest of videos, or synthetic; <class>/<sound file>")
    parser.add_argument("--run", type=Path, required=True, help="a run folder")
    parser.add_argument("--held_out", type=float, help="measure on the videos that a run with this share held out")
    parser.add_argument("--reach", type=float, default=0.4, help="seconds of the largest offset that is looked for")
    args = parser.parse_args()
    try:
        if args.what == "audio":
            results = audio_probe(args.root, args.run).to_json()
        else:
            root = write_world(World(videos=480)) if args.root == SYNTHETIC else Path(args.root)
            videos = open_manifest(root)
            videos = split(videos, args.held_out)[1] if args.held_out else videos
            results = measure_synchrony(videos, args.run, args.reach).to_json()
    except (MediaError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    where = Path(args.root).resolve()
    name = where.parent.name if where.is_file() else where.name  # a manifest is named by its folder
    out = args.run / f"{args.what}_{name}.json"
    out.write_text(json.dumps(results, indent=1))
    for name, value in results.items():
        print(f"{name:16} {line(value)}")
    print(out)


def line(value: Any) -> str:
    """A result without its lists."""
    if isinstance(value, dict) and "video" in value:
        value = {"value": value["video"]["top1"]["value"], "ci95": value["video"]["top1"]["ci95_bootstrap"]}
    return json.dumps({k: v for k, v in value.items() if k != "each"} if isinstance(value, dict) else value)


if __name__ == "__main__":
    main()
