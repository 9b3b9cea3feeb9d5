"""Batches of pairs, out of tables that stay on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.kinds import UserError

Tokens = npt.NDArray[np.int32]
Vectors = npt.NDArray[np.float16]
Places = npt.NDArray[np.int64]

SHARDS_OPEN = 16
"""Shards that the videos of a batch may come from: bounds memory at about 5 MB of tokens each."""
_PAGE_HEADER = 40
"""Bytes that the header of one page stays below, and those of two pages do not (21 to 27 each)."""


@dataclass(frozen=True)
class Batch:
    """N pairs, those of a video contiguous."""

    tokens: Tokens
    """[N, max_words], word ids, 0 beyond the caption."""
    video: Vectors
    """[N, 4096]."""
    videos: int


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
    content: npt.NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> "PairShard":
        """Open a table. Raises UserError when it is not laid out as the pairs stage writes it."""
        file = _open(path)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        table = file.read(["video_id", "tokens"])
        first = np.cumsum([0, *(group.num_rows for group in groups)])
        tokens = pa.concat_arrays([pa.array([], pa.list_(pa.int32())), *table["tokens"].chunks])
        return cls(
            videos=[table["video_id"][int(row)].as_py() for row in first[:-1]],
            first=first,
            offsets=np.array([_feature_offset(group, path) for group in groups], np.int64),
            words=tokens.flatten().to_numpy(),
            word_ends=np.cumsum([0, *tokens.value_lengths().to_pylist()]),
            content=np.memmap(path, np.uint8, "r"),
        )

    def features(self, video: int) -> Vectors:
        """All features [n, 4096] of a video: a view of the file, read where it is touched."""
        dim = 2 * tables.FEATURE_DIM
        pairs = int(self.first[video + 1] - self.first[video])
        start = int(self.offsets[video])
        return self.content[start : start + pairs * dim * 2].view("<f2").reshape(pairs, dim)

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


def videos_of(paths: Sequence[Path]) -> list[str]:
    """The videos of pairs tables, in order."""
    return [
        table["video_id"][0].as_py()
        for file in map(_open, paths)
        for table in (file.read_row_group(i, ["video_id"]) for i in range(file.num_row_groups))
    ]


def draw_batches(
    paths: Sequence[Path],
    *,
    videos_per_batch: int,
    pairs_per_video: int,
    max_words: int,
    seed: int,
    epoch: int,
) -> Iterator[Batch]:
    """One epoch: each video once, `pairs_per_video` of its pairs drawn with replacement.

    The order depends on seed and epoch alone: shards in a fresh order, and the videos of every
    16 shards in a fresh order among themselves. The last, incomplete batch is dropped.
    """
    random = np.random.default_rng([seed, epoch])
    drawn: list[tuple[Tokens, Vectors]] = []
    order = random.permutation(len(paths))
    for window in range(0, len(order), SHARDS_OPEN):
        shards = [PairShard.open(paths[i]) for i in order[window : window + SHARDS_OPEN]]
        places = [(shard, video) for shard in shards for video in range(len(shard.videos))]
        for place in random.permutation(len(places)):
            shard, video = places[place]
            features = shard.features(video)
            pairs = random.integers(len(features), size=pairs_per_video)
            drawn.append((shard.tokens(video, pairs, max_words), features[pairs]))
            if len(drawn) == videos_per_batch:
                tokens, vectors = zip(*drawn, strict=True)
                yield Batch(np.concatenate(tokens), np.concatenate(vectors), len(drawn))
                drawn.clear()
