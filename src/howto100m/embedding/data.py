"""Batches of pairs, out of tables that stay on disk."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.embedding.parallel import ALONE, Team
from howto100m.kinds import UserError
from howto100m.shards import shard_paths

Item = TypeVar("Item")
Tokens = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float16]
Places = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]

SHARDS_OPEN = 16
"""Shards that the videos of a batch may come from: bounds memory at about 5 MB of tokens each."""
_PAGE_HEADER = 40
"""Bytes that the header of one page stays below, and those of two pages do not (21 to 27 each)."""


@dataclass(frozen=True)
class Batch:
    """N pairs, those of a video contiguous; what was drawn twice stands here once."""

    tokens: Tokens
    """[C, max_words]: distinct captions as word ids, 0 beyond the caption."""
    video: Vectors
    """[V, 4096]: features of distinct clips."""
    captions: Places
    """[N * candidates] rows of `tokens`, those of a pair contiguous."""
    clips: Places
    """[N] rows of `video`."""

    @classmethod
    def join(cls, parts: Sequence["Batch"]) -> "Batch":
        """One batch of several."""
        tokens, video = ([getattr(p, name) for p in parts] for name in ("tokens", "video"))
        before = [np.cumsum([0, *map(len, arrays)])[:-1] for arrays in (tokens, video)]
        return cls(
            np.concatenate(tokens),
            np.concatenate(video),
            np.concatenate([p.captions + n for p, n in zip(parts, before[0], strict=True)]),
            np.concatenate([p.clips + n for p, n in zip(parts, before[1], strict=True)]),
        )


@dataclass(frozen=True)
class PairShard:
    """One pairs table: captions in memory, features mapped from the file."""

    videos: list[str]
    first: Places
    """[V + 1]: the pairs of video v are first[v] ... first[v + 1] - 1."""
    offsets: Places
    """[V]: where in the file the features of a video begin."""
    words: Tokens
    word_ends: Places
    """[P + 1]: the tokens of pair p are words[word_ends[p] : word_ends[p + 1]]."""
    starts: Times
    ends: Times
    """[P] (s)."""
    content: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> "PairShard":
        """Open a table. Raises UserError when it is not laid out as the pairs stage writes it."""
        file = _open(path)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        table = file.read(["start", "end", "tokens"])
        videos, first = _videos(file)
        tokens = pa.concat_arrays([pa.array([], pa.list_(pa.int32())), *table["tokens"].chunks])
        return cls(
            videos=videos,
            first=first,
            offsets=np.array([_feature_offset(group, path) for group in groups], np.int64),
            words=tokens.flatten().to_numpy(),
            word_ends=np.cumsum([0, *tokens.value_lengths().to_pylist()]),
            starts=table["start"].to_numpy(),
            ends=table["end"].to_numpy(),
            content=np.memmap(path, np.uint8, "r"),
        )

    def pairs(self, video: int) -> int:
        """How many pairs a video has."""
        return int(self.first[video + 1] - self.first[video])

    def features(self, video: int) -> Vectors:
        """All features [n, 4096] of a video: a view of the file, read where it is touched."""
        dim = 2 * tables.FEATURE_DIM
        size, start = self.pairs(video) * dim * 2, int(self.offsets[video])
        return self.content[start : start + size].view("<f2").reshape(-1, dim)

    def tokens(self, video: int, pairs: Places, max_words: int) -> Tokens:
        """The captions [len(pairs), max_words] of some pairs of a video, zero padded."""
        rows = self.first[video] + pairs
        places = self.word_ends[rows][:, None] + np.arange(max_words)
        inside = places < self.word_ends[rows + 1][:, None]
        return np.where(inside, self.words[np.where(inside, places, 0)], 0).astype(np.int32)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: build the pairs first") from None
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run again") from None


def _feature_offset(group: pq.RowGroupMetaData, path: Path) -> int:
    """Where the one page of the features holds its first number: behind the page's header."""
    column = group.column(group.num_columns - 1)
    size: int = group.num_rows * 2 * tables.FEATURE_DIM * 2
    header: int = column.total_uncompressed_size - size
    plain = column.compression == "UNCOMPRESSED" and not column.has_dictionary_page
    if column.path_in_schema != "feature" or not plain or not 0 < header < _PAGE_HEADER:
        raise UserError(f"{path} is not laid out for a memory map: build the pairs again")
    offset: int = column.data_page_offset
    return offset + header


def _videos(file: pq.ParquetFile) -> tuple[list[str], Places]:
    """The videos of a table, a row group each, and where their pairs begin [V + 1]."""
    rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    first = np.cumsum([0, *rows])
    return file.read(["video_id"])["video_id"].take(first[:-1]).to_pylist(), first


def pairs_by_video(paths: Sequence[Path], only: frozenset[str] | None = None) -> dict[str, int]:
    """The videos of pairs tables (of `only` where that is given), in order, with their pairs."""
    return {
        video: int(pairs)
        for videos, first in (_videos(_open(path)) for path in paths)
        for video, pairs in zip(videos, np.diff(first), strict=True)
        if only is None or video in only
    }


def count_pairs(paths: Sequence[Path]) -> int:
    """How many pairs the tables hold."""
    return sum(_open(path).metadata.num_rows for path in paths)


def ranked_videos(folder: Path, max_rank: int) -> frozenset[str]:
    """The videos of a folder's videos table whose best search rank is `max_rank` or better."""
    shards = (
        pq.read_table(path, columns=["video_id"], filters=[("rank", "<=", max_rank)])
        for path in shard_paths(folder)
    )
    return frozenset(video for table in shards for video in table["video_id"].to_pylist())


def nearest_in_time(starts: Times, ends: Times, pairs: Places, candidates: int) -> Places:
    """For each of `pairs` its run [len(pairs), candidates] of neighbours, itself among them.

    The run grows by the neighbour that makes the shorter whole, the next one on a tie, as in the
    MIL-NCE authors' loader; in a video with fewer pairs its outermost one stands for the rest.
    """
    first, last, end = pairs, pairs, len(starts) - 1
    for _ in range(candidates - 1):
        before = ends[np.minimum(last, end)] - starts[np.maximum(first - 1, 0)]
        after = ends[np.minimum(last + 1, end)] - starts[first]
        back = (first != 0) & ((last == end) | (before < after))
        first, last = np.where(back, first - 1, first), np.where(back, last, last + 1)
    run: Places = np.minimum(first[:, None] + np.arange(candidates), end)
    return run


@dataclass(frozen=True)
class Drawn:
    """Some pairs of one video, to be read."""

    shard: PairShard
    video: int
    pairs: Places

    def read(self, max_words: int, candidates: int) -> Batch:
        """Their captions and features."""
        whole = slice(self.shard.first[self.video], self.shard.first[self.video + 1])
        starts, ends = self.shard.starts[whole], self.shard.ends[whole]
        near = nearest_in_time(starts, ends, self.pairs, candidates).ravel()
        texts, captions = np.unique(near, return_inverse=True)
        seen, clips = np.unique(self.pairs, return_inverse=True)
        tokens = self.shard.tokens(self.video, texts, max_words)
        return Batch(tokens, self.shard.features(self.video)[seen], captions, clips)


@dataclass(frozen=True)
class Sampling:
    """What makes a batch, and what an epoch."""

    videos_per_batch: int
    pairs_per_video: int
    max_words: int
    candidates: int = 1
    """Captions of a pair: the nearest in time, its own among them."""
    every_pair: bool = False
    """An epoch is every pair once, not every video; a batch is `videos_per_batch` pairs."""
    only: frozenset[str] | None = None
    """The videos to draw from; None for all."""


def draw(
    paths: Sequence[Path], sampling: Sampling, *, seed: int, epoch: int
) -> Iterator[list[Drawn]]:
    """The batches of one epoch, not yet read: each video once, with pairs drawn with replacement.

    The order depends on seed and epoch alone: shards in a fresh order, and the videos (or pairs) of
    every 16 shards in a fresh order among themselves. The last, incomplete batch is dropped.
    """
    random = np.random.default_rng([seed, epoch])
    batch: list[Drawn] = []
    order = random.permutation(len(paths))
    for window in range(0, len(order), SHARDS_OPEN):
        shards = [PairShard.open(paths[i]) for i in order[window : window + SHARDS_OPEN]]
        places = [
            (shard, video, pair)
            for shard in shards
            for video in range(len(shard.videos))
            if sampling.only is None or shard.videos[video] in sampling.only
            for pair in range(shard.pairs(video) if sampling.every_pair else 1)
        ]
        for place in random.permutation(len(places)):
            shard, video, pair = places[place]
            if sampling.every_pair:
                pairs = np.array([pair])
            else:
                pairs = random.integers(shard.pairs(video), size=sampling.pairs_per_video)
            batch.append(Drawn(shard, video, pairs))
            if len(batch) == sampling.videos_per_batch:
                yield batch
                batch = []


def draw_batches(
    paths: Sequence[Path],
    sampling: Sampling,
    team: Team = ALONE,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
) -> Iterator[Batch]:
    """The batches of one epoch (see `draw`) from number `first` on, this process's part of each."""
    for batch in islice(draw(paths, sampling, seed=seed, epoch=epoch), first, None):
        part = team.part(batch)
        yield Batch.join([drawn.read(sampling.max_words, sampling.candidates) for drawn in part])


def ahead(items: Iterator[Item], number: int = 2) -> Iterator[Item]:
    """The items, so many of them made ahead by a thread while the ones before are used."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, None) for _ in range(number))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, items, None))
            yield item
