"""Do normalisations of the same recording give the same bytes?

    python benchmarks/determinism.py --root ../shared/data/ut_interaction --files 10 --times 20

Prints the number of hashes per recording, which is 1 where encoding is deterministic. Pictures keep their size; those
whose sides are no multiples of 16 are chosen first.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from avssl.avsync.normalise import normalise
from avssl.avsync.options import Normal
from avssl.media import MediaError, probe
from avssl.runtime.files import digest_of


def main() -> None:
    """Normalise each recording some times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, nargs="+", required=True, help="folders or files")
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--times", type=int, default=20, help="normalisations per file")
    parser.add_argument("--short_side", type=int, default=1000, help="larger pictures are scaled to it")
    args = parser.parse_args()
    infos = []
    for path in (path for root in args.root for path in (sorted(root.rglob("*")) if root.is_dir() else [root])):
        try:
            infos.append(probe(path))
        except MediaError:
            continue
    infos.sort(key=lambda info: (not any(side % 16 for side in info.size), info.num_frames))
    worst = 0
    print("| recording | height x width | normalisations | hashes |\n|---|---|---|---|")
    for info in infos[: args.files]:
        found: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(args.times):
                target = Path(folder) / "copy.mp4"
                normalise(info, target, Normal(short_side=args.short_side), whole=False)
                found[digest_of(target)] += 1
        worst = max(worst, len(found))
        print(f"| {info.path.name} | {info.size[0]} x {info.size[1]} | {args.times} | {len(found)} |", flush=True)
    raise SystemExit(worst > 1)


if __name__ == "__main__":
    main()
