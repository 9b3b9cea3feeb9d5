"""The index: the embedding of every pair's clip in one file, and what each clip is, row by row.

The folder is whole in itself (with the network and the vocabulary that read a sentence), so that it
can be moved to the machine that serves it.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from howto100m import tables
from howto100m.devices import choose_device
from howto100m.embedding.data import PairShard, count_pairs
from howto100m.embedding.model import Net, load_net
from howto100m.find.nearest import build_cells
from howto100m.kinds import UserError
from howto100m.shards import Progress, shard_paths, table_writer, whole_file

log = logging.getLogger(__name__)

Halves = npt.NDArray[np.float16]

BLOCK = 4096
"""Clips that go through the network at once, at most (but for a longer video)."""
EXACT_UP_TO = 1_000_000
"""Clips up to which a search goes through all of them."""


@dataclass(frozen=True)
class Folder:
    """Where the parts of an index are."""

    path: Path

    @property
    def description(self) -> Path:
        """What the index holds: a `Description` as JSON, written last."""
        return self.path / "index.json"

    @property
    def vectors(self) -> Path:
        """The embeddings, float16 [clips, dim], little-endian, nothing else."""
        return self.path / "vectors.f16"

    @property
    def clips(self) -> Path:
        """The table `index`: a row a vector."""
        return self.path / "clips.parquet"

    @property
    def cells(self) -> Path:
        """FAISS's index, where there are many clips."""
        return self.path / "cells.faiss"

    @property
    def network(self) -> Path:
        """The checkpoint."""
        return self.path / "network.pth"

    @property
    def vocabulary(self) -> Path:
        """The vocabulary that the checkpoint was trained with."""
        return self.path / "vocabulary.parquet"


@dataclass(frozen=True)
class Description:
    """What an index holds."""

    run: str
    clips: int
    dim: int
    max_words: int
    cells: bool
    """Whether FAISS narrows the search; without it every search is exact."""


def index_clips(
    results: Path,
    checkpoint: Path,
    output: Path,
    *,
    max_words: int,
    exact_up_to: int = EXACT_UP_TO,
    seed: int = 1,
    device: str = "auto",
) -> Description:
    """Embed the clips of all pairs under `results` into the folder `output`.

    With more than `exact_up_to` clips FAISS's index is built as well. Raises UserError when a table
    is missing or damaged, or the checkpoint does not take the pairs' features.
    """
    pairs, folder = shard_paths(results / "pairs"), Folder(output)
    net = load_net(checkpoint, choose_device(device))
    if net.GU_video.fc.in_features != 2 * tables.FEATURE_DIM:
        raise UserError(
            f"{checkpoint} takes features of {net.GU_video.fc.in_features} numbers,"
            f" the pairs have {2 * tables.FEATURE_DIM}"
        )
    folder.description.unlink(missing_ok=True)
    clips, dim = 0, net.GU_video.fc.out_features
    with whole_file(folder.vectors) as part, part.open("wb") as file:
        progress = Progress("pairs embedded", count_pairs(pairs))
        for block in _embedded(pairs, net):
            file.write(block.tobytes())
            clips += len(block)
            progress.add(len(block))
    with table_writer(folder.clips, tables.INDEX) as writer:
        for path in pairs:
            writer.write_table(_rows(results, path))
    cells = clips > exact_up_to
    folder.cells.unlink(missing_ok=True)
    if cells:
        with whole_file(folder.cells) as part:
            build_cells(open_vectors(folder.vectors, clips, dim), part, seed)
    for source, copy in (
        (checkpoint, folder.network),
        (results / "vocabulary" / "vocabulary.parquet", folder.vocabulary),
    ):
        with whole_file(copy) as part:
            try:
                shutil.copyfile(source, part)
            except FileNotFoundError:
                raise UserError(f"{source} does not exist: build that stage first") from None
    found = Description(checkpoint.stem, clips, dim, max_words, cells)
    with whole_file(folder.description) as part:
        part.write_text(json.dumps(asdict(found), indent=2) + "\n")
    log.info("%d clips of %s indexed in %s", clips, checkpoint, output)
    return found


def describe(folder: Folder) -> Description:
    """What an index holds. Raises UserError when there is none, or it is of another version."""
    try:
        return Description(**json.loads(folder.description.read_text()))
    except FileNotFoundError:
        raise UserError(
            f"{folder.path} holds no index: run `howto100m index` (or `snakemake index`) first"
        ) from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder.description} is not ours ({error}): build it again") from None


def open_vectors(path: Path, clips: int, dim: int) -> Halves:
    """The vectors [clips, dim], mapped. Raises UserError when the file has another size."""
    found = path.stat().st_size if path.exists() else 0
    if found != clips * dim * 2:
        raise UserError(f"{path} has {found} bytes, not {clips * dim * 2}: build the index again")
    # Copy on write: PyTorch takes no array that it may not write into.
    return np.memmap(path, "<f2", "c", shape=(clips, dim)) if clips else np.empty((0, dim), "<f2")


@torch.inference_mode()
def _embedded(paths: list[Path], net: Net) -> Iterator[Halves]:
    """The embeddings of all pairs, in the tables' order, some videos at a time."""
    device = next(net.parameters()).device

    def embed(features: list[Halves]) -> Halves:
        video = torch.from_numpy(np.concatenate(features)).to(device).float()
        found = net.embed_video(video)
        if not bool(found.isfinite().all()):
            raise UserError("an embedding is NaN or infinite: howto100m validate names the pair")
        return found.half().cpu().numpy()

    waiting: list[Halves] = []
    for path in paths:
        shard = PairShard.open(path)
        for video in range(len(shard.videos)):
            if waiting and sum(map(len, waiting)) + shard.pairs(video) > BLOCK:
                yield embed(waiting)
                waiting = []
            waiting.append(shard.features(video)[_first_of_each(shard, video)])
    if waiting:
        yield embed(waiting)


def _first_of_each(shard: PairShard, video: int) -> npt.NDArray[np.int64]:
    """The pairs of a video without those that grew to the same seconds as one before."""
    whole = slice(shard.first[video], shard.first[video + 1])
    places = np.stack([shard.starts[whole], shard.ends[whole]])
    return np.sort(np.unique(places, axis=1, return_index=True)[1])


def _rows(results: Path, pairs: Path) -> pa.Table:
    """What the pairs of a shard are, in order: their lines as shown, their videos' titles, files.

    What a stage that the line did without would have said is "".
    """
    found = {
        stage: next(iter(results.glob(f"{stage}/{pairs.stem}.parquet")), None)
        for stage in ("clips", "videos", "media")
    }
    with duckdb.connect() as database:
        for stage, schema in (
            ("clips", tables.CLIPS),
            ("videos", tables.VIDEOS),
            ("media", tables.MEDIA),
        ):
            if path := found[stage]:
                database.execute(f"CREATE VIEW {stage} AS FROM '{path}'")
            else:
                database.register(stage, schema.empty_table())
        query = """
            WITH p AS (SELECT video_id, clip, start, "end", file_row_number AS row
                       FROM read_parquet($pairs, file_row_number = true)
                       QUALIFY row_number()
                       OVER (PARTITION BY video_id, start, "end" ORDER BY row) = 1),
                 said AS (SELECT row, string_agg(raw_text, ' ' ORDER BY c.clip) AS text
                          FROM p JOIN clips c ON c.video_id = p.video_id AND c.start >= p.start
                          AND c."end" <= p."end" GROUP BY row)
            SELECT p.video_id, clip, start, "end", coalesce(text, '') AS text,
                   coalesce(title, '') AS title, coalesce(category_1, '') AS category_1,
                   coalesce(path, '') AS path
            FROM p LEFT JOIN said USING (row) LEFT JOIN videos USING (video_id)
            LEFT JOIN media USING (video_id) ORDER BY row
            """
        rows: pa.Table = database.sql(query, params={"pairs": str(pairs)}).to_arrow_table()
        return rows.cast(tables.INDEX)
