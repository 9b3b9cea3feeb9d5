"""The whole features stage beside a plain run of the official kind, and beside what limits it.

    .venv/bin/python benchmarks/features.py /tmp/features
    .venv/bin/python benchmarks/features.py /tmp/features --seconds 2000 --videos 1 --ways exact
    .venv/bin/python benchmarks/features.py /tmp/features --device cuda --videos 64 --tune full

plain: for each network a pass of ffmpeg over each video, all frames in memory, float32 (on a GPU as
PyTorch has it, which is TF32 in convolutions), batches of one video. exact, fast: `howto100m
extract` in these modes. Their limits: networks, on batches that lie on the device; decode-exact and
decode-fast, the stage without its networks. Weights are random ones unless given. Processor time is
that of all processes; memory is what they hold at most beyond what they hold once the networks are
loaded, what they share counted once; feeds, how many times real time the one thread that hands rows
on could serve, where it does not compute.
"""

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decode import make_video, seconds_of
from howto100m.features import resnet152, resnext101
from howto100m.features.decode import probe
from howto100m.features.engine import NETWORKS, Engine, Settings, Video
from howto100m.features.sampling import Sampling, crop_offset, scaled_size
from howto100m.features.tuning import TUNES, rate
from howto100m.features.weights import make_weights

HOURS_OF_HOWTO100M = 134_472
LIMITS = ("networks", "decode-exact", "decode-fast")
WAYS = ("plain", "exact", "fast", *LIMITS)
Vectors = dict[str, np.ndarray[Any, Any]]


class Memory:
    """Watches what this process and its children hold, in MiB."""

    def __init__(self) -> None:
        self.most, self.stopped = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self.stopped.wait(0.2):
            self.most = max(self.most, self.now())

    @staticmethod
    def now() -> float:
        """What they hold now; what they share counts once."""
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return sum(_held(int(pid)) for pid in [os.getpid(), *children])


def _held(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def plain_frames(path: Path, sampling: Sampling) -> np.ndarray[Any, Any]:
    info = probe(path)
    width, height = scaled_size(info.width, info.height, sampling.size)
    filters = f"fps=fps={sampling.rate},scale={width}:{height}"
    if sampling.crop:
        x, y = crop_offset((width, height), sampling.size)
        width = height = sampling.size
        filters += f",crop={width}:{height}:{x}:{y}"
    command = ["ffmpeg", "-v", "error", "-i", path, "-vf", filters]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def plain(weights: dict[str, Path], paths: list[Path], device: str) -> Callable[[], Vectors]:
    where = torch.device("cuda" if device == "cuda" else "cpu")
    loaded = {
        "2d": resnet152.load(weights["2d"]).to(where),
        "3d": resnext101.load(weights["3d"]).to(where),
    }

    @torch.no_grad()
    def run() -> Vectors:
        found = {}
        for name, network in loaded.items():
            sampling = NETWORKS[name]
            for path in paths:
                frames = plain_frames(path, sampling)
                blank = np.zeros((-len(frames) % sampling.group, *frames.shape[1:]), np.uint8)
                rows = torch.from_numpy(np.concatenate([frames, blank]))
                if sampling.group > 1:
                    rows = rows.reshape(-1, sampling.group, *rows.shape[1:])
                parts = [network(part.to(where)).cpu().numpy() for part in rows.split(32)]
                found[f"{name}/{path.stem}"] = np.concatenate(parts)
        return found

    return run


def ours(engine: Engine, paths: list[Path], way: str) -> Callable[[], Vectors]:
    def run() -> Vectors:
        found = {}
        for video in engine.vectors_of([Video(path.stem, path) for path in paths]):
            assert video.outcome().kind is None, video.outcome()
            for position, name in enumerate(engine.names):
                found[f"{name}/{video.id}"] = video.whole(position)
            video.vectors.clear()
        logging.getLogger("benchmark").info("%s: %s", way, engine.report(0.0))
        return found

    return run


def without_networks(engine: Engine) -> Engine:
    for runner in engine.runners:
        vectors = torch.ones(runner.batch_size, 2048, device=runner.device)
        if runner.gpu:  # it still makes pixels of planes
            runner.network = lambda _, given=vectors: given
        else:
            runner._run = lambda rows, _, given=vectors: given[: len(rows)]  # type: ignore
    return engine


def networks_alone(engine: Engine) -> float:
    """Seconds on the clock that the networks take for a second of video, 640 x 360."""
    seconds = 0.0
    for runner in engine.runners:
        sampling = runner.sampling
        width, height = (sampling.size,) * 2 if sampling.crop else scaled_size(640, 360, 224)
        group = [sampling.group] if sampling.group > 1 else []
        shape = runner.batch_size, *group, height, width, 3
        rows = torch.randint(0, 256, shape, dtype=torch.uint8).to(runner.device)
        rows = rows.float() if runner.gpu else rows
        wait = torch.cuda.synchronize if runner.gpu else lambda: None
        seconds += sampling.rows_per_second / rate(runner.network, rows, wait)
    return seconds


def child(arguments: argparse.Namespace, way: str, weights: dict[str, Path]) -> None:
    paths = sorted(arguments.folder.glob(f"video{arguments.seconds}-*.mp4"))[: arguments.videos]
    torch.set_num_threads(arguments.workers)
    length = arguments.seconds * arguments.videos
    if way == "plain":
        run = plain(weights, paths, arguments.device)
    else:
        settings = Settings(
            mode=way.removeprefix("decode-").replace("networks", "exact"),
            device=arguments.device,
            dtype=arguments.dtype,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            tune="none" if way.startswith("decode") else arguments.tune,
        )
        engine = Engine(weights, settings)
        run = ours(without_networks(engine) if way in LIMITS else engine, paths, way)
    networks, memory = Memory.now(), Memory()
    memory.thread.start()
    found: Vectors = {}
    if way == "networks":
        clock, processor, thread = length * networks_alone(engine), math.nan, math.nan
    else:
        thread = time.thread_time()
        processor, clock = seconds_of(lambda: found.update(run()))
        thread = time.thread_time() - thread
    memory.stopped.set()
    np.savez(arguments.folder / f"{way}.npz", **found)  # type: ignore[arg-type]
    held = memory.most - networks
    result = {"processor": processor, "clock": clock, "memory": held, "thread": thread}
    (arguments.folder / f"{way}.json").write_text(json.dumps(result))


def least_cosines(folder: Path, way: str, against: str) -> str:
    """Of 2D and 3D vectors, to those of another way."""
    if not (folder / f"{against}.npz").exists():
        return "-"
    ours, theirs = (np.load(folder / f"{name}.npz") for name in (way, against))
    least = []
    for network in NETWORKS:
        names = [name for name in ours.files if name.startswith(network)]
        a, b = (np.concatenate([x[n] for n in names]).astype(float) for x in (ours, theirs))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        least.append(f"{((a * b).sum(1) / lengths).min():.5f}")
    return " ".join(least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--tune", default="quick", choices=TUNES)
    parser.add_argument("--resnet152", type=Path)
    parser.add_argument("--resnext101", type=Path)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder
    weights = {
        "2d": arguments.resnet152 or folder / "resnet152.pth",
        "3d": arguments.resnext101 or folder / "resnext101.pth",
    }
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.child:
        child(arguments, arguments.child, weights)
        return
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"video{arguments.seconds}-{n:03}.mp4" for n in range(arguments.videos)]
    make_video(names[0], arguments.seconds)
    for path in names[1:]:
        if not path.exists():
            path.hardlink_to(names[0])
    for network, path in zip(("resnet152", "resnext101"), weights.values(), strict=True):
        if not path.exists():
            make_weights(network, sorted(folder.glob("video*.mp4"))[:2], 1, path)
    for way in arguments.ways:
        subprocess.run([sys.executable, *sys.argv, "--child", way], check=True)
    results = {w: json.loads((folder / f"{w}.json").read_text()) for w in arguments.ways}
    length = arguments.videos * arguments.seconds
    first = results[arguments.ways[0]]
    print(f"{arguments.videos} videos of {arguments.seconds} s, {arguments.workers} workers")
    print(f"{described(arguments.device)}\n")
    print(
        "| way | s | ratio | processor s | ratio | times real time | feeds"
        f" | MiB beyond the networks | least cosine to {arguments.ways[0]}, 2D 3D |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for way, got in results.items():
        clock, processor = (f"{first[k] / got[k]:.2f}" for k in ("clock", "processor"))
        fed = way in LIMITS[1:] or arguments.device == "cuda"
        feeds = f"{length / got['thread']:.0f}" if fed else "-"
        cosine = "-" if way in LIMITS else least_cosines(folder, way, arguments.ways[0])
        print(
            f"| {way} | {got['clock']:.1f} | {clock} | {got['processor']:.1f} | {processor}"
            f" | {length / got['clock']:.2f} | {feeds} | {got['memory']:.0f} | {cosine} |"
        )
    for way in ("exact", "fast"):
        if way not in results:
            continue
        names = {"networks", f"decode-{way}"} & results.keys()
        limits = {name: results[name]["clock"] for name in names}
        speed = length / results[way]["clock"]
        print(f"\n{way}: all of HowTo100M takes {HOURS_OF_HOWTO100M / speed:.0f} hours so.")
        if limits:
            narrowest = max(limits, key=lambda name: limits[name])
            share = limits[narrowest] / results[way]["clock"]
            print(f"The bottleneck is {narrowest}: the stage reaches {share:.0%} of it alone.")
        if "networks" in limits:
            print(f"The device computes {limits['networks'] / results[way]['clock']:.0%} of it.")


def described(device: str) -> str:
    """The date, the device and the versions."""
    parts = [f"{datetime.now(UTC):%Y-%m-%d}", f"PyTorch {torch.__version__}"]
    if device == "cuda":
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        parts.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        parts.append(f"cuDNN {torch.backends.cudnn.version()}")  # type: ignore[no-untyped-call]
    return ", ".join(part.strip() for part in parts)


if __name__ == "__main__":
    main()
