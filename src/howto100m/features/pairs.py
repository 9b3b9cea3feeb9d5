"""Training pairs: clips grown to a least length, with their pooled features and word ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.embedding.vocabulary import Vocabulary, tokenize
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import (
    Outcome,
    Progress,
    Row,
    attempt,
    check_failures,
    read_table,
    shard_paths,
    table_writer,
    write_status,
)

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]

RATE_2D = 1.0
"""Rows of ResNet-152 a second."""
RATE_3D = 24 / 16
"""Rows of the 3D ResNeXt-101 a second: 24 frames a second, 16 a row."""

ONE_PAGE = 1 << 30
LAYOUT = {
    "compression": {"video_id": "zstd", "tokens.list.element": "zstd", "feature": "none"},
    "use_dictionary": ["video_id"],
    "write_statistics": ["video_id", "clip"],
    "data_page_size": ONE_PAGE,
    "max_rows_per_page": ONE_PAGE,
    "write_page_checksum": False,
}
"""One page a row group, features uncompressed and without statistics in the page's header: the
feature column of a row group is then one plain array in the file, read without a copy."""


@dataclass(frozen=True)
class FeatureTable:
    """The feature vectors of many videos, read a video at a time."""

    groups: dict[str, list[tuple[pq.ParquetFile, int]]]

    @classmethod
    def open(cls, path: Path) -> "FeatureTable":
        """Open one table, or every table of a folder; nothing but the video ids is read.

        Raises UserError when a table is missing or damaged.
        """
        groups: dict[str, list[tuple[pq.ParquetFile, int]]] = {}
        for shard in shard_paths(path) if path.is_dir() else [path]:
            try:
                file = pq.ParquetFile(shard, memory_map=True)
            except FileNotFoundError:
                raise UserError(f"{shard} does not exist: build the features first") from None
            except pa.ArrowInvalid as error:
                raise UserError(f"{shard} is damaged ({error}): delete it, run again") from None
            for group in range(file.num_row_groups):
                for video in file.read_row_group(group, ["video_id"])["video_id"].unique():
                    groups.setdefault(video.as_py(), []).append((file, group))
        return cls(groups)

    def rows(self, video_id: str) -> Halves:
        """The vectors [n, 2048] of a video, in order.

        Raises ItemError: no_features when it has none, corrupt when rows are missing.
        """
        parts = [file.read_row_group(group) for file, group in self.groups.get(video_id, [])]
        if not parts:
            raise ItemError(Kind.NO_FEATURES, "the video has no features")
        table = pa.concat_tables(parts)
        ids = np.array(table["video_id"].cast(pa.string()).to_pylist())
        mine = np.flatnonzero(ids == video_id)
        index = table["index"].to_numpy()[mine]
        if not np.array_equal(index, np.arange(len(mine))):
            raise ItemError(Kind.CORRUPT, f"its {len(mine)} feature rows are not 0, 1, 2 ...")
        return binary_array(table["feature"], tables.FEATURE_DIM)[mine]


def binary_array(column: pa.ChunkedArray, dim: int) -> Halves:
    """A FixedSizeBinary column of float16 as an array [n, dim], without a copy if it is whole."""
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    arrays = [
        np.frombuffer(c.buffers()[1], "<f2", len(c) * dim, c.offset * 2 * dim).reshape(-1, dim)
        for c in chunks
    ]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty((0, dim), "<f2"), *arrays])


def pool(rows: Halves, rate: float, start: float, end: float) -> Floats:
    """The clip's vector: maximum over rows int(start * rate) ... int(end * rate), L2-normalised.

    As the official loader; there a clip without rows is zeros, here it raises ItemError
    no_features. Raises ItemError not_finite when the rows hold NaN or infinity.
    """
    inside = rows[int(start * rate) : int(end * rate) + 1].astype(np.float32)
    if not len(inside):
        raise ItemError(Kind.NO_FEATURES, f"no row within {start:g}..{end:g} s of {len(rows)} rows")
    return unit(inside.max(axis=0))


def unit(vectors: Floats) -> Floats:
    """Vectors [..., d] scaled to length 1; zeros stay zeros. Raises ItemError not_finite."""
    if not np.isfinite(vectors).all():
        raise ItemError(Kind.NOT_FINITE, "a feature is NaN or infinite")
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def clip_vector(rows_2d: Halves, rows_3d: Halves, start: float, end: float) -> Floats:
    """The vector [4096] of a clip: 2D half, 3D half, each of length 1. Raises as `pool`."""
    halves = (pool(rows_2d, RATE_2D, start, end), pool(rows_3d, RATE_3D, start, end))
    return np.concatenate(halves)


def grow(
    starts: Sequence[float],
    ends: Sequence[float],
    words: Sequence[int],
    index: int,
    min_seconds: float,
    min_words: int,
) -> tuple[float, float, list[int]]:
    """Grow a clip by its neighbours until it is long enough, as the official loader.

    `words` counts the words of each line, known or not. Each time the neighbour joins that makes
    the shorter whole, the previous one on a tie (without a least length: the previous one unless
    the next has more words). Returns start, end (s) and the lines whose words make the caption, in
    the official order: a previous line's words come after those there are, which matters only to
    the cut at the greatest number of words.
    """
    first = last = index
    lines, count = [index], words[index]
    while count < min_words or ends[last] - starts[first] < min_seconds:
        if first == 0 and last == len(starts) - 1:
            break
        if last == len(starts) - 1:
            back = True
        elif first == 0:
            back = False
        elif min_seconds > 0:
            back = ends[last] - starts[first - 1] <= ends[last + 1] - starts[first]
        else:
            back = words[last + 1] <= words[first - 1]
        first, last = (first - 1, last) if back else (first, last + 1)
        lines.append(first if back else last)
        count += words[lines[-1]]
    return starts[first], ends[last], lines


def pair_clips(
    clips: Path,
    features_2d: Path,
    features_3d: Path,
    vocabulary: Path,
    output: Path,
    status: Path,
    *,
    min_seconds: float,
    min_words: int,
    max_words: int,
    max_failed: float,
) -> None:
    """Write a shard's pairs, sorted by video and clip, one row group a video.

    A clip is skipped as no_words when no word of its grown caption has a vector, and as
    no_features when no feature row falls into it; status ids are `video_id:clip`.
    Raises UserError for a table that is missing or damaged, StageStopped when more than the share
    `max_failed` of the clips failed.
    """
    words = Vocabulary.load(vocabulary)
    rows_2d = lru_cache(maxsize=1)(FeatureTable.open(features_2d).rows)
    rows_3d = lru_cache(maxsize=1)(FeatureTable.open(features_3d).rows)
    columns = ["video_id", "clip", "start", "end", "text"]
    table = read_table(clips, columns).sort_by([("video_id", "ascending"), ("clip", "ascending")])
    progress = Progress("clips", len(table))
    outcomes: list[Outcome] = []

    def pair(lines: _Lines, index: int) -> list[Row]:
        start, end, text = lines.grown(index, min_seconds, min_words)
        tokens = words.encode(text, max_words)
        if not tokens:
            raise ItemError(Kind.NO_WORDS, "no word of the caption is in the vocabulary")
        feature = clip_vector(rows_2d(lines.video_id), rows_3d(lines.video_id), start, end)
        return [
            {
                "video_id": lines.video_id,
                "clip": lines.clips[index],
                "start": start,
                "end": end,
                "tokens": tokens,
                "feature": feature.astype("<f2").tobytes(),
            }
        ]

    with table_writer(output, tables.PAIRS, **LAYOUT) as writer:
        for _, of_video in groupby(table.to_pylist(), key=itemgetter("video_id")):
            lines = _Lines.of(list(of_video))
            pairs: list[Row] = []
            for index, clip in enumerate(lines.clips):
                outcome, made = attempt(f"{lines.video_id}:{clip}", partial(pair, lines, index))
                pairs += made
                outcomes.append(outcome)
                progress.count(outcome)
            if pairs:
                writer.write_table(pa.Table.from_pylist(pairs, schema=tables.PAIRS))
        check_failures("pairs", outcomes, max_failed)
    write_status(status, outcomes)


@dataclass(frozen=True)
class _Lines:
    """The lines of one video, in order."""

    video_id: str
    clips: list[int]
    starts: list[float]
    ends: list[float]
    texts: list[str]
    words: list[int]

    @classmethod
    def of(cls, rows: list[Row]) -> "_Lines":
        clips, starts, ends, texts = (
            [row[name] for row in rows] for name in ("clip", "start", "end", "text")
        )
        counts = [len(tokenize(text)) for text in texts]
        return cls(rows[0]["video_id"], clips, starts, ends, texts, counts)

    def grown(self, index: int, min_seconds: float, min_words: int) -> tuple[float, float, str]:
        """Start, end (s) and text of the grown clip."""
        start, end, lines = grow(self.starts, self.ends, self.words, index, min_seconds, min_words)
        return start, end, " ".join(self.texts[i] for i in lines)
