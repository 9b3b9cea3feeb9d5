"""Features of one's own videos: any files, without the workflow, as tables or as .npy files."""

import csv
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from howto100m import tables
from howto100m.features.decode import ENDINGS
from howto100m.features.engine import NETWORKS, Engine, Settings, Video
from howto100m.features.files import LAYOUT, write_vectors
from howto100m.features.inference import Vectors
from howto100m.kinds import ItemError, Kind, Status, UserError
from howto100m.shards import Outcome, Progress, shard_path, table_writer, whole_file, write_status

log = logging.getLogger(__name__)

FORMATS = ("parquet", "npy")
PART_VIDEOS, PART_SECONDS = 256, 600.0
"""A table is closed after so many videos, or so much time: what a killed run loses at most."""
LEAST_NORM = 1e-12
SAME = ("weights_sha256", "mode", "mean")
"""What tables in one folder must have in common."""


@dataclass(frozen=True)
class Item:
    """A video of one's own; `output` is where its vectors go, where the list says so."""

    id: str
    path: Path
    output: Path | None = None


def extract_own(
    source: Path, output: Path, kind: str, weights: Mapping[str, Path], settings: Settings
) -> list[Outcome]:
    """Write the vectors of a video, of all below a folder, or of a list; say how each video fared.

    `kind` is parquet, `output`/2d/ and /3d/ as the workflow's tables (not normalised), or npy, a
    file [n, 2048] of float16 with rows of length 1 a video, as the official extractor's. What is
    there already is left as it is. `output`/status.parquet has a row for every video.
    Raises UserError as `Engine` does, and for a source, format or folder that will not do.
    """
    if kind not in FORMATS:
        raise UserError(f"unknown format {kind}: give one of {', '.join(FORMATS)}")
    items = list_videos(source)
    made = Tables(output) if kind == "parquet" else Arrays(output, alone=len(weights) == 1)
    lacking = {item.id: tuple(n for n in weights if not made.has(item, n)) for item in items}
    outcomes = {
        item.id: Outcome.of(item.id, ItemError(Kind.PRESENT, "its vectors were there"))
        for item in items
        if not lacking[item.id]
    }
    log.info("%d videos, of which %d are done", len(items), len(outcomes))
    progress, length = Progress("videos", len(items) - len(outcomes)), 0.0
    for networks in sorted(set(lacking.values()) - {()}):
        todo = [item for item in items if lacking[item.id] == networks]
        engine = Engine({name: weights[name] for name in networks}, settings)
        for outcome, seconds in _extract(engine, todo, made):
            outcomes[outcome.id] = outcome
            length += seconds
            speed = length / max(time.monotonic() - progress.started, 1e-9)
            progress.count(outcome, f"{speed:.1f} s of video a second")
    found = [outcomes[item.id] for item in items]
    write_status(output / "status.parquet", found)
    return found


def _extract(
    engine: Engine, items: Sequence[Item], made: "Tables | Arrays"
) -> Iterator[tuple[Outcome, float]]:
    """Each video's outcome and its length in seconds, its vectors written."""
    videos = [Video(item.id, item.path) for item in items]
    writing = 0.0
    with made.writing(engine), closing(engine.vectors_of(videos)) as finished:
        for item, video in zip(items, finished, strict=True):
            outcome, length = video.outcome(), 0.0
            started = time.monotonic()
            if outcome.status is Status.OK:
                found = [video.whole(position) for position in range(len(engine.names))]
                length = len(found[0]) / NETWORKS[engine.names[0]].rows_per_second
                made.write(item, dict(zip(engine.names, found, strict=True)))
            writing += time.monotonic() - started
            if outcome.message:
                log.warning("%s: %s: %s", video.id, outcome.kind or "damaged", outcome.message)
            video.vectors.clear()
            yield outcome, length
    log.info("%s", engine.report(writing))


def chosen_weights(networks: str, given: Mapping[str, Path | None]) -> dict[str, Path]:
    """The weights of the networks that are asked for, as "2d,3d".

    Raises UserError where one is not known, or its weights are not given.
    """
    names = [name.strip() for name in networks.split(",")]
    if unknown := [name for name in names if name not in NETWORKS]:
        raise UserError(f"--networks knows {' and '.join(NETWORKS)}, not {unknown[0]!r}")
    flags = {"2d": "--resnet152", "3d": "--resnext101"}
    if lacking := [flags[name] for name in names if given[name] is None]:
        raise UserError(f"--networks {networks} needs {' and '.join(lacking)}, a file of weights")
    return {name: path for name, path in given.items() if name in names and path is not None}


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """How a run went: a line for every video that failed, and one that counts."""
    failed = [o for o in outcomes if o.status is Status.FAILED]
    fared = Counter(str(outcome.kind or outcome.status) for outcome in outcomes)
    counted = ", ".join(f"{number} {what}" for what, number in fared.most_common())
    lines = [f"{outcome.id}: {outcome.kind}: {outcome.message}" for outcome in failed]
    return [*lines, f"{len(outcomes)} videos: {counted}"]


def list_videos(source: Path) -> list[Item]:
    """The videos of a file, a folder and all below it, or a .csv (`video_path,feature_path`).

    A video's id is its path below the folder, or its name, without the ending where that is enough.
    Raises UserError when there is none, or the list is wrong.
    """
    if source.suffix.lower() == ".csv":
        listed = _read_list(source)
        ids = _ids([path for path, _ in listed], [path.name for path, _ in listed])
        return [Item(name, path, out) for name, (path, out) in zip(ids, listed, strict=True)]
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in ENDINGS)
        if not paths:
            raise UserError(f"{source} holds no video file ({' '.join(sorted(ENDINGS))})")
        ids = _ids(paths, [path.relative_to(source).as_posix() for path in paths])
        return [Item(name, path) for name, path in zip(ids, paths, strict=True)]
    if not source.exists():
        raise UserError(f"{source} does not exist: give a video, a folder or a .csv")
    return [Item(source.stem, source)]


def _ids(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """For each path the shortest of its bare name, its name and itself that no other has."""
    bare = [name.removesuffix(path.suffix) for path, name in zip(paths, names, strict=True)]
    whole = [str(path) for path in paths]
    counts = [Counter(bare), Counter(names), Counter(whole)]
    ids = [
        next(name for name, count in zip(choice, counts, strict=True) if count[name] == 1)
        for choice in zip(bare, names, whole, strict=True)
    ]
    return ids if len(set(ids)) == len(ids) else whole


def _read_list(source: Path) -> list[tuple[Path, Path | None]]:
    found: dict[Path, Path | None] = {}
    lines: dict[Path, int] = {}
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "video_path" not in (reader.fieldnames or []):
                raise UserError(f"{source} has no column video_path: its first line names columns")
            for row in reader:
                cells = [(row.get(name) or "").strip() for name in ("video_path", "feature_path")]
                where = f"{source}:{reader.line_num}"
                if not cells[0]:
                    raise UserError(f"{where}: video_path is empty")
                for path in (Path(cell) for cell in cells if cell):
                    if path in lines:
                        raise UserError(f"{where}: {path} stands in line {lines[path]} too")
                    lines[path] = reader.line_num
                found[Path(cells[0])] = Path(cells[1]) if cells[1] else None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source} cannot be read as a list of videos: {error}") from None
    if not found:
        raise UserError(f"{source} lists no video")
    return list(found.items())


@dataclass
class Arrays:
    """A .npy file a video and network, as the official extractor writes them."""

    folder: Path
    alone: bool
    """One network alone: a list's feature_path is taken as it stands."""

    def path(self, item: Item, network: str) -> Path:
        """Where a video's vectors go."""
        if item.output is None:
            return self.folder / network / f"{item.id}.npy"
        if self.alone:
            return item.output
        return item.output.with_suffix(f".{network}{item.output.suffix or '.npy'}")

    def has(self, item: Item, network: str) -> bool:
        """Whether a whole file is there; one that a killed program left is made anew."""
        path = self.path(item, network)
        if not path.exists():
            return False
        try:
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (ValueError, EOFError, OSError) as error:
            log.warning("%s is not whole (%s): made anew", path, error)
            return False
        return len(shape) == 2 and shape[1] == tables.FEATURE_DIM

    def writing(self, engine: Engine) -> ExitStack:  # noqa: ARG002 - as Tables
        """Nothing to open."""
        return ExitStack()

    def write(self, item: Item, vectors: Mapping[str, Vectors]) -> None:
        """Write a video's vectors, each of length 1."""
        for network, found in vectors.items():
            norms = np.linalg.norm(found, axis=1, keepdims=True)
            with whole_file(self.path(item, network)) as part, part.open("wb") as file:
                np.save(file, (found / np.maximum(norms, LEAST_NORM)).astype(np.float16))


@dataclass
class Tables:
    """Tables of many videos a network, NNNNN.parquet; a run adds to those that are there."""

    folder: Path
    known: dict[str, set[str]] = field(default_factory=dict)
    number: int = 0
    stack: ExitStack = field(default_factory=ExitStack)
    writers: dict[str, pq.ParquetWriter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look at the tables that are there."""
        for network in NETWORKS:
            self.known[network] = set()
            for path in sorted((self.folder / network).glob("?????.parquet")):
                self.number = max(self.number, int(path.stem) + 1)
                file = pq.ParquetFile(path)
                groups = range(file.metadata.num_row_groups)
                columns = [file.metadata.row_group(group).column(0) for group in groups]
                self.known[network] |= {column.statistics.min for column in columns}

    def has(self, item: Item, network: str) -> bool:
        """Whether a table has the video."""
        return item.id in self.known[network]

    def writing(self, engine: Engine) -> ExitStack:
        """Tables open with the first video; on leaving the block, however, they are whole."""
        for network, note in zip(engine.names, engine.notes, strict=True):
            for path in sorted((self.folder / network).glob("?????.parquet")):
                there = pq.read_schema(path).metadata
                if other := [key for key in SAME if there[key.encode()].decode() != note[key]]:
                    raise UserError(
                        f"{path} was made with another {' and '.join(other)}: give another folder"
                    )
        self.notes = dict(zip(engine.names, engine.notes, strict=True))
        stack = ExitStack()
        stack.callback(self._close)
        return stack

    def write(self, item: Item, vectors: Mapping[str, Vectors]) -> None:
        """Add a video to the open tables; close them where they are full."""
        if not self.writers:
            self._open()
        for network, found in vectors.items():
            rate = NETWORKS[network].rows_per_second
            write_vectors(self.writers[network], item.id, found.astype(np.float16), rate)
        self.held += 1
        if self.held >= PART_VIDEOS or time.monotonic() - self.opened >= PART_SECONDS:
            self._close()

    def _open(self) -> None:
        self.held, self.opened = 0, time.monotonic()
        for network, note in self.notes.items():
            schema = tables.FEATURES.with_metadata(note | {"normalised": "no"})
            path = shard_path(self.folder / network, self.number)
            self.writers[network] = self.stack.enter_context(table_writer(path, schema, **LAYOUT))
        self.number += 1

    def _close(self) -> None:
        self.stack.close()
        self.writers.clear()
