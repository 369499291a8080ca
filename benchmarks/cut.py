"""Cut a recording with a camera pose per frame into pieces, each with its poses (and depth maps) beside it.

    python benchmarks/cut.py VIDEO POSES -o runs/pieces
    python benchmarks/cut.py VIDEO POSES -o runs/rgbd --depth=DEPTH --every=10 --frames=8

A single long recording can't be split into training and held-out videos; its pieces can. Results hold for this room
only, as neighbouring pieces show the same things.
"""

from __future__ import annotations

import argparse
import shutil
from fractions import Fraction
from pathlib import Path

import torch
from av.video.frame import VideoFrame

from avssl.catalog.encode import Movie, write_movie
from avssl.labels import recorded_maps
from avssl.media import open_video


def main() -> None:
    """Write ``<out>/<number>.mp4``, ``<out>/<number>.poses.txt`` and ``<out>/<number>.depth``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("poses", type=Path, help="text file with one row per frame")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=40, help="frames per piece; the remainder at the end is left out")
    parser.add_argument("--every", type=int, default=1, help="N keeps every Nth frame, at 1/N of the frame rate")
    parser.add_argument("--depth", type=Path, help="folder of depth maps, named by frame number")
    args = parser.parse_args()
    rows = args.poses.read_text().splitlines()[:: args.every]
    maps = {} if args.depth is None else recorded_maps(args.depth)
    args.out.mkdir(parents=True, exist_ok=True)
    with open_video(args.video) as reader:
        rate = Fraction(reader.info.fps).limit_denominator(1001) / args.every
        movie = Movie(rate, reader.info.size, 12, 16000)
        starts = range(0, min(len(rows), reader.info.num_frames // args.every) - args.frames + 1, args.frames)
        for number, first in enumerate(starts):
            places = torch.arange(first, first + args.frames, dtype=torch.float64) * args.every
            times = (places + 0.5) / reader.info.fps
            pictures = []
            for place, pixels in enumerate(reader.frames(times).permute(0, 2, 3, 1).contiguous().numpy()):
                picture = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                picture.pts, picture.time_base = place, 1 / rate
                pictures.append(picture)
            target = args.out / f"{number:03d}.mp4"
            write_movie(target, iter(pictures), iter(()), movie, {"preset": "medium", "crf": "18"})
            target.with_suffix(".poses.txt").write_text("\n".join(rows[first : first + args.frames]) + "\n")
            for place in range(args.frames):
                if (first + place) * args.every in maps:
                    target.with_suffix(".depth").mkdir(exist_ok=True)
                    copy = target.with_suffix(".depth") / f"{place:06d}.png"
                    shutil.copyfile(maps[(first + place) * args.every], copy)
    print(f"{len(starts)} pieces of {args.frames} frames in {args.out}")


if __name__ == "__main__":
    main()
