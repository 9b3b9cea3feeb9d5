"""De-duplicate the hits of all tasks and move them from task shards to video shards.

    .venv/bin/python benchmarks/select_videos.py /tmp/select

Made-up rows: so many tasks of 200 hits each, in 256 shards; popular videos come for many tasks, so
that three hits stand for about two videos. `howto100m videos` is one process on two cores.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from howto100m import tables
from howto100m.shards import shard_path, write_table

RESULTS, TASK_SHARDS, VIDEO_SHARDS = 200, 256, 1200
ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", "u1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=23_611)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    hits = make_hits(folder, arguments.tasks)
    command = [sys.executable, "-m", "howto100m", "videos", "--search", str(folder / "search")]
    command += ["--tasks", str(folder / "tasks"), "--output", str(folder / "videos")]
    started = time.monotonic()
    subprocess.run([*command, "--shards", str(VIDEO_SHARDS)], check=True)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{hits} hits of {arguments.tasks} tasks to {VIDEO_SHARDS} shards: {seconds:.0f} s,"
        f" {used.ru_utime + used.ru_stime:.0f} processor s, {used.ru_maxrss / 2**20:.2f} GiB"
    )


def make_hits(folder: Path, tasks: int) -> int:
    """Write the tables of tasks and search; returns the number of hits."""
    rng = np.random.default_rng(1)
    hits = 0
    for shard, numbers in enumerate(np.array_split(np.arange(tasks), TASK_SHARDS)):
        names = [str(number) for number in numbers]
        rows = [
            {"task_id": name, "title": f"Make Thing {name}", "visual": True, "verb": "make"}
            | {"category_1": "Food", "category_2": "Baking", "reason": ""}
            for name in names
        ]
        write_table(shard_path(folder / "tasks", shard), rows, tables.TASKS)
        search = _search(rng, names, 6 * tasks * RESULTS)
        hits += len(search)
        write_table(shard_path(folder / "search", shard), search, tables.SEARCH)
    return hits


def _search(rng: np.random.Generator, tasks: list[str], videos: int) -> pa.Table:
    size = len(tasks) * RESULTS
    # An id is a bijection of its number: eleven letters, spread over the alphabet.
    number = (videos * rng.random(size) ** 4).astype(np.uint64)
    mixed = number * np.uint64(0x9E3779B97F4A7C15)
    letters = (mixed[:, None] >> (np.arange(11, dtype=np.uint64) * np.uint64(5))) & np.uint64(63)
    ids = ALPHABET[letters.astype(int)].tobytes().decode()
    return pa.table(
        {
            "task_id": np.repeat(tasks, RESULTS),
            "rank": np.tile(np.arange(1, RESULTS + 1), len(tasks)),
            "video_id": [ids[n : n + 11] for n in range(0, len(ids), 11)],
            "title": [f"How to make the thing at home, in {n} easy steps" for n in number],
            "channel": [f"Channel of the House {n % 100_003}" for n in number],
            "views": (10 ** rng.uniform(0, 7, size)).astype(int),
            "duration": rng.integers(20, 2400, size).astype(float),
            "live": [""] * size,
        }
    )


if __name__ == "__main__":
    main()
