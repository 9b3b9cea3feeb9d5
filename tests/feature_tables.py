"""Feature, clip and vocabulary tables that tests make themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from howto100m import tables
from howto100m.embedding.vocabulary import build_vocabulary
from howto100m.features.pairs import RATE_2D, RATE_3D, pair_clips
from howto100m.shards import table_writer, write_table

Line = tuple[float, float, str]


def write_features(path: Path, videos: Mapping[str, np.ndarray], rate: float) -> Path:
    """One row group a video: rows [n, 2048] at so many rows a second."""
    with table_writer(
        path, tables.FEATURES, compression="none", use_dictionary=["video_id"]
    ) as out:
        for video_id, rows in videos.items():
            columns = [
                pa.array([video_id] * len(rows)).dictionary_encode().cast(tables.FEATURES.types[0]),
                pa.array(np.arange(len(rows)), pa.int32()),
                pa.array(np.arange(len(rows)) / rate, pa.float32()),
                pa.array([row.astype("<f2").tobytes() for row in rows], pa.binary(4096)),
            ]
            out.write_table(pa.table(columns, schema=tables.FEATURES))
    return path


def write_clips(path: Path, videos: Mapping[str, Sequence[Line]]) -> Path:
    rows = [
        {"video_id": v, "clip": i, "start": s, "end": e, "text": t, "raw_text": t}
        for v, lines in videos.items()
        for i, (s, e, t) in enumerate(lines)
    ]
    write_table(path, rows, tables.CLIPS)
    return path


def write_vocabulary(path: Path, words: Iterable[str], seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    rows = [
        {"word": w, "count": 1, "vector": random.normal(size=300).astype("<f4").tobytes()}
        for w in words
    ]
    write_table(path, rows, tables.VOCABULARY)
    return path


@dataclass(frozen=True)
class World:
    """Videos of numbers: each clip of 5 s shows a thing in a colour, and its line says so."""

    features_2d: dict[str, np.ndarray]
    features_3d: dict[str, np.ndarray]
    lines: dict[str, list[Line]]


THINGS = [f"thing{i}" for i in range(8)]
COLOURS = [f"colour{i}" for i in range(6)]


def make_world(name: str, videos: int, clips: int = 8, seed: int = 0) -> World:
    """Worlds of other names hold other videos of the same things."""
    looks = np.random.default_rng(0).random((len(THINGS) + len(COLOURS), 4096)).astype(np.float32)
    random = np.random.default_rng([seed, *name.encode()])
    world = World({}, {}, {})
    for number in range(videos):
        video_id, seconds = f"{name}{number}", 5 * clips
        rows = random.random((2 * seconds, 4096), np.float32)
        lines: list[Line] = []
        kinds = random.choice(len(THINGS) * len(COLOURS), clips, replace=False)
        for clip, kind in enumerate(kinds):
            thing, colour = divmod(int(kind), len(COLOURS))
            look = 2 * (looks[thing] + looks[len(THINGS) + colour])
            rows[clip * 10 : clip * 10 + 10] += look
            start = 5.0 * clip
            lines.append((start, start + 4.5, f"now {COLOURS[colour]} {THINGS[thing]} {clip}"))
        half_seconds = np.arange(int(seconds * 1.5)) * 4 // 3
        world.features_2d[video_id] = rows[::2, :2048]
        world.features_3d[video_id] = rows[half_seconds, 2048:]
        world.lines[video_id] = lines
    return world


def make_pairs(folder: Path) -> Path:
    """The tables `words`, `pairsa` (10 videos) and `pairsb` (7 videos) of a made world."""
    clips = []
    for shard, videos in (("a", 10), ("b", 7)):
        world = make_world(shard, videos)
        write_features(folder / f"2d{shard}", world.features_2d, RATE_2D)
        write_features(folder / f"3d{shard}", world.features_3d, RATE_3D)
        clips.append(write_clips(folder / f"clips{shard}", world.lines))
    words, status = folder / "words", folder / "status"
    build_vocabulary(clips, words, status, vectors="train", min_count=1, seed=1, workers=1)
    for shard in "ab":
        pair_clips(
            *(folder / f"{name}{shard}" for name in ("clips", "2d", "3d")),
            words,
            folder / f"pairs{shard}",
            status,
            min_seconds=4.0,
            min_words=0,
            max_words=20,
            max_failed=0.0,
        )
    return folder
