"""``python -m avssl.synthetic``: write the default world into the cache and print the figures of docs/synthetic.md."""

import os
import time

import cv2
import numpy as np

from avssl.synthetic import CLASSES, Scene, World, write_world
from avssl.synthetic.audit import decode, onset_errors, psnr, shortcuts

cv2.setNumThreads(1)
world = World()
start = time.perf_counter()
root = write_world(world)
size = sum(path.stat().st_size for path in root.glob("*/*.mp4"))
busy = os.times().children_user + os.times().children_system
wall = time.perf_counter() - start
print(f"{root}\n{world.videos} videos, {size / 1e6:.0f} MB, ready in {wall:.1f} s ({busy:.0f} s of processor time)")

onsets, ratios, impacts = [], [], []
for index in range(0, world.videos, 5):
    scene = Scene(world, index)
    times, pictures, sound = decode(root / world.path(index), world.rate)
    onsets.append(onset_errors(scene, sound))
    ratios += [psnr(picture, scene.frame(t)) for t, picture in zip(times[::9], pictures[::9], strict=True)]
    impacts.append(len(scene.impacts) / world.seconds)
errors = 1000 * np.abs(np.concatenate(onsets))
print(f"impacts: {np.mean(impacts):.1f} per second; onset error in the files: {errors.mean():.3f} ms, at most", end=" ")
print(f"{errors.max():.3f} ms ({len(errors)} impacts)")
print(f"decoded frames against Scene.frame: {np.mean(ratios):.1f} dB PSNR, at least {min(ratios):.1f} dB")
print(f"accuracy over {len(CLASSES)} actions (chance {1 / len(CLASSES):.3f}):")
for name, score in shortcuts(world).items():
    print(f"  {name:15} {score.accuracy:.3f} +- {score.interval:.3f}")
