"""Time and memory of what passes over all shards, on made-up tables of so many videos.

    .venv/bin/python benchmarks/scale.py /tmp/scale --videos 320 120000 1200000 --clips 10

Writes the tables of each number of videos, 1,024 a shard, with one pair a video (10 GB of 1.2
million), and runs the commands that read them all, each in a process of its own. Training is an
epoch at a width of 16. With --seconds the videos have features too, so that

    .venv/bin/python benchmarks/scale.py /tmp/scale --videos 1024 --clips 110 --seconds 396

is one shard as full as HowTo100M's (4 GB), of which the pairs are made as well.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pyarrow as pa

from howto100m import tables
from howto100m.features.pairs import LAYOUT, RATE_2D, RATE_3D
from howto100m.shards import (
    shard_of,
    shard_path,
    statistics_path,
    status_path,
    table_writer,
    write_table,
)

WORDS = np.array([f"word{i}" for i in range(20_000)])
STEPS = 562_500
"""Of a loss curve: 15 epochs of 1.2 million videos, 32 a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, nargs="+", default=[320, 120_000, 1_200_000])
    parser.add_argument("--clips", type=int, default=10, help="clips a video")
    parser.add_argument("--seconds", type=int, default=0, help="of features a video")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="of those that are run")
    given = parser.parse_args()
    print("| videos | clips | what | s | processor s | MiB | with mapped files |")
    print("|---|---|---|---|---|---|---|")
    for videos in given.videos:
        results = given.folder / "results"
        # In a process of its own: what this one holds counts as held by those that it starts.
        writer = Process(target=write, args=(results, videos, given.clips, given.seconds))
        writer.start()
        writer.join()
        vectors = given.folder / "vectors.txt"
        vectors.write_text(f"{len(WORDS)} 300\n" + "".join(f"{w}{' 1' * 300}\n" for w in WORDS))
        for command in _commands(results, vectors, given.seconds > 0):
            if given.only and command[0] not in given.only:
                continue
            wall, processor, own, mapped = _run([str(part) for part in command])
            print(
                f"| {videos} | {videos * given.clips} | howto100m {command[0]} |"
                f" {wall:.1f} | {processor:.1f} | {own:.0f} | {mapped:.0f} |",
                flush=True,
            )
        shutil.rmtree(given.folder)


def _commands(results: Path, vectors: Path, pairs: bool) -> Iterator[list[object]]:
    vocabulary = results / "vocabulary" / "vocabulary.parquet"
    network = results / "embedding" / "wide-1.pth"
    yield ["vocabulary", "--clips", results / "clips", "--vectors", vectors, "--output", vocabulary]
    if pairs:
        stages = {"clips": "clips", "features-2d": "features/2d", "features-3d": "features/3d"}
        inputs = [(f"--{flag}", shard_path(results / s, 0)) for flag, s in stages.items()]
        output = shard_path(results / "pairs", 0)
        flags = ("--vocabulary", vocabulary, "--output", output)
        yield ["pairs", *(part for flag in inputs for part in flag), *flags]
    yield [
        *("embedding", "--pairs", results / "pairs", "--vocabulary", vocabulary),
        *("--dim", 16, "--epochs", 1, "--videos-per-batch", 4096, "--pairs-per-video", 1),
        *("--run", "wide-1", "--output", network, "--curve", network.with_suffix(".curve.parquet")),
        *("--status", network.with_suffix(".status.parquet")),
    ]
    yield [
        *("index", "--results", results, "--checkpoint", network, "--output", results / "index"),
        *("--exact-up-to", 2_000_000),
    ]
    for command in ("status", "validate"):
        yield [command, "--results", results]
    yield ["report", "--results", results, "--output", results / "report.html"]


def write(results: Path, videos: int, clips: int, seconds: int) -> None:
    """Tables that `howto100m validate` finds no fault with."""
    shards = -(-videos // 1024)
    cut: list[list[str]] = [[] for _ in range(shards)]
    for number in range(videos):
        video_id = f"video{number:08d}"
        cut[shard_of(video_id, shards)].append(video_id)
    draw = np.random.default_rng(0)
    for shard, ids in enumerate(cut):
        one = {"video_id": ids}
        path = shard_path(results / "videos", shard)
        write_table(path, _filled(tables.VIDEOS, one), tables.VIDEOS)
        _status(path, ids)
        _write_clips(shard_path(results / "clips", shard), ids, clips, draw)
        path = shard_path(results / "media", shard)
        files = {"path": [f"media/{video_id}.mp4" for video_id in ids]}
        files |= {"sha256": ["0" * 64] * len(ids), "duration": [float(seconds or 396)] * len(ids)}
        write_table(path, _filled(tables.MEDIA, one | files), tables.MEDIA)
        _status(path, ids)
        _status(shard_path(results / "features", shard), ids)
        if seconds:
            for name, rate in (("2d", RATE_2D), ("3d", RATE_3D)):
                path = shard_path(results / "features" / name, shard)
                _write_features(path, ids, int(seconds * rate), rate)
        else:
            _write_pairs(shard_path(results / "pairs", shard), ids, clips, draw)
    step = np.arange(1, STEPS + 1)
    curve = {"run": ["long"] * STEPS, "step": step, "loss": 1 / step + draw.random(STEPS)}
    path = results / "embedding" / "long.curve.parquet"
    write_table(path, _filled(tables.CURVE, curve), tables.CURVE)
    metrics = {"run": ["wide-1"], "benchmark": ["msrvtt"], "metric": ["R@10"], "part": [""]}
    path = results / "evaluation" / "metrics.parquet"
    write_table(path, _filled(tables.METRICS, metrics), tables.METRICS)


def _write_clips(path: Path, ids: list[str], clips: int, draw: np.random.Generator) -> None:
    texts = WORDS[(draw.pareto(1, (len(ids) * clips, 4)) * 5).astype(np.int64) % len(WORDS)]
    number = np.tile(np.arange(clips), len(ids))
    columns = {
        "video_id": np.repeat(ids, clips),
        "clip": number,
        "start": number * 3.6,
        "end": number * 3.6 + 3.6,
        "text": [" ".join(words) for words in texts],
    }
    write_table(path, _filled(tables.CLIPS, columns), tables.CLIPS)
    _status(path, ids)
    counts = {name: [clips] * len(ids) for name in ("lines", "clips")}
    nothing = {name: [0] * len(ids) for name in ("empty", "outside", "cut", "backward")}
    statistics = _filled(tables.CLIP_STATISTICS, {"video_id": ids} | counts | nothing)
    write_table(statistics_path(path), statistics, tables.CLIP_STATISTICS)


def _write_pairs(path: Path, ids: list[str], clips: int, draw: np.random.Generator) -> None:
    """The first clip of each video a pair, the others without a known word."""
    width = 2 * tables.FEATURE_DIM
    features = draw.random((len(ids), width), np.float32).astype("<f2")
    columns = {
        "video_id": ids,
        "clip": [0] * len(ids),
        "start": [0.0] * len(ids),
        "end": [5.0] * len(ids),
        "tokens": [[1, 2, 3, 4]] * len(ids),
        "feature": [row.tobytes() for row in features],
    }
    with table_writer(path, tables.PAIRS, **LAYOUT) as writer:
        writer.write_table(_filled(tables.PAIRS, columns), row_group_size=1)
    _status(
        path,
        [f"{video_id}:{clip}" for video_id in ids for clip in range(clips)],
        [None, *["no_words"] * (clips - 1)] * len(ids),
    )


def _write_features(path: Path, ids: list[str], rows: int, rate: float) -> None:
    schema = tables.FEATURES.with_metadata({"rate": str(rate)})
    rows_of_one = np.random.default_rng(1).random((rows, tables.FEATURE_DIM), np.float32)
    feature = pa.array([row.tobytes() for row in rows_of_one.astype("<f2")], pa.binary(4096))
    layout = {"compression": "none", "use_dictionary": ["video_id"]}
    with table_writer(path, schema, **layout) as writer:
        for video_id in sorted(ids):
            columns = {"video_id": pa.array([video_id] * rows).dictionary_encode()}
            columns |= {"index": np.arange(rows), "start": np.arange(rows) / rate}
            writer.write_table(_filled(schema, columns | {"feature": feature}))


def _filled(schema: pa.Schema, columns: dict[str, object]) -> pa.Table:
    """The columns, and of the others what an empty value of their type is."""
    rows = len(columns["video_id" if "video_id" in columns else "run"])  # type: ignore[arg-type]
    arrays = []
    for column in schema:
        if column.name in columns:
            found = columns[column.name]
            made = found if isinstance(found, pa.Array) else pa.array(found)
            arrays.append(made.cast(column.type))
        elif column.nullable:
            arrays.append(pa.nulls(rows, column.type))
        elif pa.types.is_list(column.type):
            arrays.append(pa.array([[]] * rows, column.type))
        else:
            one = "" if pa.types.is_string(column.type) else 1
            arrays.append(pa.array([one] * rows, column.type))
    return pa.table(arrays, schema=schema)


def _status(table: Path, ids: list[str], kinds: list[str | None] | None = None) -> None:
    kinds = kinds or [None] * len(ids)
    nothing = {name: [0] * len(ids) for name in ("attempts", "seconds", "bytes")}
    fates = ["skipped" if kind else "ok" for kind in kinds]
    columns = {"id": ids, "status": fates, "message": [""] * len(ids), **nothing}
    columns["kind"] = pa.array(kinds, pa.string())
    write_table(status_path(table), pa.table(columns), tables.STATUS)


def _run(command: list[str]) -> tuple[float, float, float, float]:
    """Seconds, processor seconds, the most memory of its own (MiB), and with mapped files."""
    started, own = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "howto100m", *command], stdout=said, stderr=said
        )
        while True:
            own = max(own, _own_memory(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{said.read()[-2000:]}")
    processor = usage.ru_utime + usage.ru_stime
    return time.monotonic() - started, processor, own / 1024, usage.ru_maxrss / 1024


def _own_memory(process: int) -> int:
    """KiB that belong to no file; pages of mapped files are the system's to take back."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    main()
