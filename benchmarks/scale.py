"""Time and memory of what passes over all shards, on made-up tables of so many videos.

    .venv/bin/python benchmarks/scale.py /tmp/scale --videos 120000 1200000 --clips 10

Writes the tables `videos` and `clips` of each number of videos, 1,024 a shard, and runs the
commands that read them all, each in a process of its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from howto100m import tables
from howto100m.shards import shard_of, shard_path, status_path, write_table

WORDS = np.array([f"word{i}" for i in range(20_000)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, nargs="+", default=[120_000, 1_200_000])
    parser.add_argument("--clips", type=int, default=10, help="clips a video")
    given = parser.parse_args()
    print("| videos | clips | what | s | processor s | MiB |")
    print("|---|---|---|---|---|---|")
    for videos in given.videos:
        results = given.folder / "results"
        _write(results, videos, given.clips)
        vectors = given.folder / "vectors.txt"
        vectors.write_text(f"{len(WORDS)} 300\n" + "".join(f"{w}{' 1' * 300}\n" for w in WORDS))
        for command in (
            ["status", "--results", results],
            ["validate", "--results", results],
            [
                *("vocabulary", "--clips", results / "clips", "--vectors", vectors),
                *("--output", given.folder / "vocabulary.parquet"),
            ],
        ):
            wall, processor, memory = _run([str(part) for part in command])
            print(
                f"| {videos} | {videos * given.clips} | howto100m {command[0]} |"
                f" {wall:.1f} | {processor:.1f} | {memory:.0f} |",
                flush=True,
            )
        shutil.rmtree(results)


def _write(results: Path, videos: int, clips: int) -> None:
    shards = -(-videos // 1024)
    cut: list[list[str]] = [[] for _ in range(shards)]
    for number in range(videos):
        video_id = f"video{number:08d}"
        cut[shard_of(video_id, shards)].append(video_id)
    draw = np.random.default_rng(0)
    for shard, ids in enumerate(cut):
        _table(shard_path(results / "videos", shard), tables.VIDEOS, ids, {"video_id": ids})
        rows = len(ids) * clips
        texts = WORDS[(draw.pareto(1, (rows, 4)) * 5).astype(np.int64) % len(WORDS)]
        number = np.tile(np.arange(clips), len(ids))
        columns = {
            "video_id": np.repeat(ids, clips),
            "clip": number,
            "start": number * 4.0,
            "end": number * 4.0 + 4.0,
            "text": [" ".join(words) for words in texts],
        }
        _table(shard_path(results / "clips", shard), tables.CLIPS, ids, columns)


def _table(path: Path, schema: pa.Schema, ids: list[str], columns: dict[str, object]) -> None:
    """Write the columns, and of the others what an empty value of their type is."""
    rows = len(columns["video_id"])  # type: ignore[arg-type]
    arrays = []
    for column in schema:
        if column.name in columns:
            arrays.append(pa.array(columns[column.name], column.type))
        elif column.nullable:
            arrays.append(pa.nulls(rows, column.type))
        elif pa.types.is_list(column.type):
            arrays.append(pa.array([[]] * rows, column.type))
        else:
            one = "" if pa.types.is_string(column.type) else 1
            arrays.append(pa.array([one] * rows, column.type))
    write_table(path, pa.table(arrays, schema=schema), schema)
    ok = {"id": ids, "status": ["ok"] * len(ids), "message": [""] * len(ids)}
    ok |= {name: [0] * len(ids) for name in ("attempts", "seconds", "bytes")}
    status = pa.table({**ok, "kind": pa.nulls(len(ids), pa.string())})
    write_table(status_path(path), status, tables.STATUS)


def _run(command: list[str]) -> tuple[float, float, float]:
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "howto100m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    processor = usage.ru_utime + usage.ru_stime
    return time.monotonic() - started, processor, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
