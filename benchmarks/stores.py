"""Requests and bytes of a clip of a long film in an S3 store: ``python benchmarks/stores.py [--clips 8]``.

A film of 1000 s and about 200 MB (720p, a keyframe every 5.3 s, sound) lies in moto's S3 server on this machine, with
its table of contents at the start, at the end, or in Matroska's own form. Each clip of 16 frames at a random second is
read by a reader of its own, and must equal the local file's.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import boto3
import numpy as np
from moto.server import ThreadedMotoServer

from avssl.media.objects import find_objects
from avssl.media.remote import RemoteRange, open_remote
from avssl.media.source import Source
from avssl.media.stores import Settings, Store, use

GOP, RATE, REPEATS, SOUND = 128, 24, 188, 250  # pictures, per second, of the film; sound packets of 1024 at 48 kHz


class File:
    """A range as the file object that PyAV reads from."""

    def __init__(self, remote: RemoteRange) -> None:
        self.remote, self.place = remote, 0

    def read(self, n: int) -> bytes:
        """Read the next bytes."""
        data = self.remote.pread(n, self.place)
        self.place += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        self.place = offset + (0, self.place, self.remote.size)[whence]
        return self.place

    def tell(self) -> int:
        """Return the position, without which FFmpeg doesn't learn the size."""
        return self.place


def write_film(folder: Path) -> list[Path]:
    """Encode one group of pictures with its sound, and write it many times over into three containers."""
    draw, short = np.random.default_rng(0), folder / "short.mov"
    texture = draw.integers(0, 256, (90, 160 + GOP, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(short), "w") as out:
        picture, sound = out.add_stream("libx264", RATE, {"preset": "ultrafast"}), out.add_stream("aac", 48000)
        picture.width, picture.height, picture.gop_size, picture.bit_rate = 1280, 720, GOP, 2_400_000
        for number in range(GOP):
            shown = np.ascontiguousarray(texture[:, 8 * number : 8 * number + 1280])
            out.mux(picture.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        for number in range(SOUND):
            samples = draw.normal(0, 0.1, (1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.rate, frame.pts = 48000, 1024 * number
            out.mux(sound.encode(frame))
        out.mux([*picture.encode(None), *sound.encode(None)])
    with av.open(str(short)) as given:
        streams = given.streams
        packets = [(p.stream.type, bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in given.demux() if p.size]
        made = [folder / name for name in ("first.mp4", "last.mp4", "film.mkv")]
        for path in made:
            options = {"movflags": "faststart"} if path.stem == "first" else {}
            with av.open(str(path), "w", options=options) as out:
                into = {each.type: out.add_stream_from_template(each) for each in streams}
                for repeat in range(REPEATS):
                    for kind, data, pts, dts, is_key, base in packets:
                        if repeat and pts < 0:
                            continue  # the encoder's delay comes once
                        packet, shift = av.Packet(data), round(Fraction(repeat * GOP, RATE) / base)
                        packet.stream, packet.time_base, packet.is_keyframe = into[kind], base, is_key
                        packet.pts, packet.dts = pts + shift, dts + shift
                        out.mux(packet)
    return made


def clip(file: object, start: float) -> list[np.ndarray]:
    """Decode 16 frames from a second on."""
    frames: list[np.ndarray] = []
    with av.open(file) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(round(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time >= start:
                frames.append(frame.to_ndarray())
            if len(frames) == 16:
                break
    return frames


def measure(name: str, starts: list[float], path: Path, opened: Callable[[], RemoteRange]) -> None:
    """Print a row: requests and MB per clip, and whether all frames are the file's."""
    requests, received, same = [], [], True
    for start in starts:
        remote = opened()
        found = clip(File(remote), start)
        same &= all(np.array_equal(*pair) for pair in zip(found, clip(str(path), start), strict=True))
        requests.append(remote.requests)
        received.append(remote.received / 1e6)
        remote.close()
    figures = f"{np.mean(requests):8.1f} {max(requests):8d} {np.mean(received):8.2f} {max(received):8.2f}"
    print(f"{name:12}{path.stat().st_size / 1e6:8.0f} {figures}   {'yes' if same else 'NO'}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    clips = parser.parse_args().clips
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    s3.create_bucket(Bucket="films")
    lab = {"lab": Store("s3://films", endpoint=url, allow_http=True)}
    starts = np.random.default_rng(1).uniform(0, REPEATS * GOP / RATE - 1, clips).tolist()
    print(f"{'film':12}{'MB':>8} {'requests':>8} {'most':>8} {'MB/clip':>8} {'most':>8}   same frames")
    with tempfile.TemporaryDirectory() as folder:
        for path in write_film(Path(folder)):
            s3.put_object(Bucket="films", Key=path.name, Body=path.read_bytes())
            use(Settings(lab))
            found = next(each for each in find_objects("lab") if each.key == path.name)
            source = Source(found.key, "lab", num_bytes=found.size, size_bytes=found.size, etag=found.etag)
            measure(path.name, starts, path, lambda: open_remote(source))  # noqa: B023
    server.stop()


if __name__ == "__main__":
    main()
