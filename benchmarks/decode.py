"""Decode a video for both networks, and beside it the official extractor's two passes of ffmpeg.

    taskset -c 0 .venv/bin/python benchmarks/decode.py /tmp/decode

Without --video it makes one of 60 s, 640 x 360, 30 frames a second, about 0.5 Mbit/s. Needs the
programs ffmpeg and ffprobe, the oracle. Everything runs on the one core it is given; what is
compared is the processor time of a process and its children, which a busy machine changes little.
"""

import argparse
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from howto100m.features.decode import probe, rows
from howto100m.features.sampling import (
    CLIPS_3D,
    FRAMES_2D,
    Form,
    Sampling,
    crop_offset,
    scaled_size,
)

BOTH = (FRAMES_2D, CLIPS_3D)
MAKE = (
    "-f lavfi -i mandelbrot=s=640x360:r=30:maxiter=300:end_scale=0.01"
    " -f lavfi -i life=s=640x360:r=30:mold=10:ratio=0.1 -filter_complex"
    " [0][1]blend=all_opacity=0.15,noise=alls=6:allf=t,format=yuv420p"
    " -c:v libx264 -preset medium -b:v 500k"
)


def make_video(path: Path, seconds: int) -> None:
    if not path.exists():
        command = ["ffmpeg", "-v", "error", *MAKE.split(), "-t", str(seconds), "-y", path]
        subprocess.run(command, check=True)


def official_pass(path: Path, sampling: Sampling) -> int:
    """The official command, read to numpy as its extractor reads it; how many frames came."""
    info = probe(path)
    width, height = scaled_size(info.width, info.height, sampling.size)
    chain = f"[0]fps=fps={sampling.rate}[s0];[s0]scale={width}:{height}[s1]"
    if sampling.crop:
        x, y = crop_offset((width, height), sampling.size)
        chain += f";[s1]crop={sampling.size}:{sampling.size}:{x}:{y}[s2]"
        width = height = sampling.size
    command = ["ffmpeg", "-v", "error", "-i", path, "-filter_complex", chain]
    command += ["-map", f"[s{2 if sampling.crop else 1}]"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return len(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3))


def official(path: Path) -> None:
    for sampling in BOTH:
        official_pass(path, sampling)


def ours(path: Path, form: Form) -> None:
    for _ in rows(path, BOTH, form=form):
        pass


def decode_alone(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return sum(1 for _ in container.decode(stream))


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of this process and its children, and seconds on the clock."""

    def used() -> Iterator[float]:
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            yield usage.ru_utime + usage.ru_stime

    before, started = sum(used()), time.monotonic()
    work()
    return sum(used()) - before, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    path = arguments.video or arguments.folder / f"video{arguments.seconds}.mp4"
    if not arguments.video:
        make_video(path, arguments.seconds)
    frames = decode_alone(path)
    ways = {
        "official: two passes of ffmpeg": lambda: official(path),
        "exact, RGB": lambda: ours(path, Form.RGB),
        "exact, planes": lambda: ours(path, Form.EXACT),
        "fast": lambda: ours(path, Form.FAST),
        "the limit: decode alone": lambda: decode_alone(path),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, work in ways.items():
            measured[name].append(seconds_of(work))
    best = {name: min(times) for name, times in measured.items()}
    baseline = next(iter(best.values()))[0]
    info = probe(path)
    print(f"{path.name}: {frames} frames of {info.width} x {info.height}, {info.codec}\n")
    print("| way | processor s | source frames/s a core | ratio | s on the clock |")
    print("|---|---|---|---|---|")
    for name, (processor, clock) in best.items():
        ratio = baseline / processor
        print(
            f"| {name} | {processor:.2f} | {frames / processor:.0f} | {ratio:.2f} | {clock:.1f} |"
        )


if __name__ == "__main__":
    main()
