"""From a sentence to the clips that show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from howto100m import tables
from howto100m.clips.marks import stop_words
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.vocabulary import Vocabulary, tokenize
from howto100m.find.index import Description, Folder, describe, open_vectors
from howto100m.find.nearest import Cells, Exact, Nearest
from howto100m.kinds import UserError
from howto100m.shards import read_table

MOST_RESULTS = 100
LONGEST_QUERY = 1000
"""Characters."""
_VIDEO_COLUMNS = ("video_id", "title", "category_1", "path")


@dataclass(frozen=True)
class Query:
    """A sentence whose words are known, how many clips are wanted, and of which category ("": any).

    `unknown` are its words that the vocabulary does not have; like stop words they take no part.
    """

    text: str
    ids: tuple[int, ...]
    k: int
    category: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A clip that was found; `path` is its video's file, "" where there is none."""

    rank: int
    score: float
    video_id: str
    clip: int
    start: float
    end: float
    text: str
    title: str
    category: str
    path: str


@dataclass(frozen=True)
class Finder:
    """An index that is open."""

    description: Description
    net: Net
    vocabulary: Vocabulary
    clips: pa.Table
    nearest: Nearest

    @classmethod
    def open(cls, path: Path) -> "Finder":
        """Open the index in a folder. Raises UserError when a part is missing or damaged.

        Who has it open keeps what was opened: a build puts new files in the place of the old.
        """
        folder = Folder(path)
        stamp, found = _stamp(folder), describe(folder)
        clips = read_table(folder.clips).cast(tables.INDEX)
        if len(clips) != found.clips:
            raise UserError(f"{folder.clips} has {len(clips)} rows, not {found.clips}: build again")
        for name in _VIDEO_COLUMNS:
            place = clips.schema.get_field_index(name)
            clips = clips.set_column(place, name, clips[name].combine_chunks().dictionary_encode())
        vectors = open_vectors(folder.vectors, found.clips, found.dim)
        finder = cls(
            found,
            load_net(folder.network, torch.device("cpu")),
            Vocabulary.load(folder.vocabulary),
            clips,
            Cells.open(folder.cells, vectors) if found.cells else Exact(vectors),
        )
        if _stamp(folder) != stamp:
            raise UserError(f"{path} was built anew while it was opened: try again")
        return finder

    @cached_property
    def categories(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Which clips belong to each category, the categories in order."""
        column = self.clips["category_1"].combine_chunks()
        codes = column.indices.to_numpy()
        names = column.dictionary.to_pylist()
        return {names[i]: codes == i for i in sorted(range(len(names)), key=names.__getitem__)}

    @cached_property
    def paths(self) -> Mapping[str, str]:
        """The file of each video, "" where it has none."""
        column = self.clips["video_id"].combine_chunks()
        _, first = np.unique(column.indices.to_numpy(), return_index=True)
        of_videos = self.clips.select(["video_id", "path"]).take(pa.array(first))
        return {row["video_id"]: row["path"] for row in of_videos.to_pylist()}

    def read(self, text: str, k: int, category: str = "") -> Query:
        """A sentence as a query. Raises UserError that says what is wrong with it."""
        if not text.strip():
            raise UserError("the query is empty: give a sentence, such as: cut the onion")
        if len(text) > LONGEST_QUERY:
            raise UserError(f"the query has {len(text)} characters, more than {LONGEST_QUERY}")
        if not 1 <= k <= MOST_RESULTS:
            raise UserError(f"k is {k}: give a number of clips from 1 to {MOST_RESULTS}")
        if category and category not in self.categories:
            raise UserError(
                f"no clip is of the category {category!r}: give one of"
                f" {', '.join(filter(None, self.categories))}"
            )
        text = text.lower()  # as the captions that the vocabulary was made from
        ids = self.vocabulary.encode(text, self.description.max_words)
        words = [w for w in dict.fromkeys(tokenize(text)) if w not in stop_words()]
        unknown = tuple(word for word in words if word not in self.vocabulary.ids)
        if not ids:
            raise UserError(f"the vocabulary has no word of {text!r}: say it in other words")
        return Query(text, tuple(ids), k, category, unknown)

    @torch.inference_mode()
    def find(self, queries: Sequence[Query]) -> list[list[Found]]:
        """The best clips for each query, the best first."""
        found: list[list[Found]] = [[] for _ in queries]
        embedded = self._embed(queries)
        for category in dict.fromkeys(query.category for query in queries):
            places = [i for i, query in enumerate(queries) if query.category == category]
            allowed = self.categories[category] if category else None
            most = max(queries[i].k for i in places)
            hits = self.nearest.search(embedded[places], most, allowed)
            for i, hit in zip(places, hits, strict=True):
                found[i] = self._clips(hit.rows[: queries[i].k], hit.scores)
        return found

    def _embed(self, queries: Sequence[Query]) -> torch.Tensor:
        ids = np.zeros((len(queries), self.description.max_words), np.int32)
        for row, query in zip(ids, queries, strict=True):
            row[: len(query.ids)] = query.ids
        return self.net.embed_text(torch.from_numpy(ids), self._words)

    @cached_property
    def _words(self) -> torch.Tensor:
        return torch.from_numpy(self.vocabulary.vectors)

    def _clips(self, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[Found]:
        taken = self.clips.take(pa.array(rows)).to_pylist()
        return [
            Found(
                rank=rank,
                score=round(float(score), 4),
                video_id=row["video_id"],
                clip=row["clip"],
                start=row["start"],
                end=row["end"],
                text=row["text"],
                title=row["title"],
                category=row["category_1"],
                path=row["path"],
            )
            for rank, (row, score) in enumerate(zip(taken, scores, strict=False), 1)
        ]


def _stamp(folder: Folder) -> tuple[int, int] | None:
    """What tells one build from another: the description is removed first and written last."""
    try:
        found = folder.description.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def as_line(clip: Found) -> str:
    """A clip as a line of text: where it is, and what is said there."""
    place = clip.path or f"https://youtu.be/{clip.video_id}?t={int(clip.start)}"
    text = f"“{clip.text}”" + (f" ({clip.title})" if clip.title else "")
    return f"{clip.rank:3} {clip.score:.3f} {place} {clip.start:.1f}-{clip.end:.1f} s {text}"
