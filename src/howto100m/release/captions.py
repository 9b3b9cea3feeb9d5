"""The release's captions: JSON of gigabytes, or a csv a video, into the shards of one table."""

import csv
import json
import logging
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from howto100m import tables
from howto100m.clips.captions import Line
from howto100m.clips.marks import content_words
from howto100m.clips.pairing import Caption, Track, write_clips
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.release.stream import stream_object
from howto100m.shards import Row, read_table, shard_of, shard_path, write_table

log = logging.getLogger(__name__)

SPILL = 1 << 26
"""Signs that wait in memory before they go to their shards' files."""


def read_captions(source: Path) -> Iterator[tuple[str, Mapping[str, Sequence[Any]] | str]]:
    """The captions of caption.json and its like, or of a folder of `<video_id>.csv`, by video id.

    A video's captions are the columns start, end and text (and whatever else there is), or a text
    that says what is wrong with its file. Raises UserError for a file that is no such thing.
    """
    if source.is_dir():
        for path in sorted(source.glob("*.csv")):
            yield path.stem, _read_csv(path)
        return
    if not source.is_file():
        raise UserError(f"{source} is neither a file nor a folder")
    with source.open(encoding="utf-8-sig") as file:
        try:
            yield from stream_object(file)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source} is not the release's JSON: {error}") from None


def _read_csv(path: Path) -> Mapping[str, Sequence[Any]] | str:
    columns: dict[str, list[Any]] = {"start": [], "end": [], "text": []}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                start, end = float(row["start"]), float(row["end"])
            except (KeyError, TypeError, ValueError):
                return f"line {rows.line_num} of {path.name} has no start and end"
            for column, value in zip(columns.values(), (start, end, row.get("text")), strict=True):
                column.append(value)
    return columns


def import_captions(captions: Path | None, raw: Path | None, output: Path, shards: int) -> None:
    """Write the shards of the captions table from the release's clean captions, raw ones, or both.

    One pass over each file; what is read waits on disk, by shard. Raises UserError where a file
    cannot be read.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".captions-", dir=output) as folder:
        spill = _Spill(Path(folder), shards)
        for name, source in (("text", captions), ("raw_text", raw)):
            if source:
                videos = sum(spill.add(name, *item) for item in read_captions(source))
                log.info("%s: captions of %d videos", source, videos)
        spill.flush()
        unlike = 0
        for shard in range(shards):
            rows = list(spill.videos(shard))
            unlike += sum(row.pop("unlike") for row in rows)
            write_table(shard_path(output, shard), rows, tables.CAPTIONS)
    if unlike:
        log.warning("%d lines have no raw line of their time: their raw text is their text", unlike)


@dataclass
class _Spill:
    """Captions on their way to their shards: a file of JSON lines each."""

    folder: Path
    shards: int
    waiting: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    signs: int = 0

    def add(self, name: str, video_id: str, captions: Any) -> int:
        line = json.dumps([video_id, name, captions])
        self.waiting[shard_of(video_id, self.shards)].append(line)
        self.signs += len(line)
        if self.signs > SPILL:
            self.flush()
        return 1

    def flush(self) -> None:
        for shard, lines in self.waiting.items():
            with self._path(shard).open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
        self.waiting.clear()
        self.signs = 0

    def videos(self, shard: int) -> Iterator[Row]:
        """The rows of a shard, by video id."""
        found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        if self._path(shard).exists():
            with self._path(shard).open() as file:
                for line in file:
                    video_id, name, captions = json.loads(line)
                    found[video_id][name] = captions
        for video_id in sorted(found):
            try:
                yield {"video_id": video_id, "error": None} | _merged(found[video_id])
            except ValueError as error:
                empty: Row = {name: [] for name in ("start", "end", "text", "raw_text")}
                yield {"video_id": video_id, "error": str(error), "unlike": 0} | empty

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard}.jsonl"


def _merged(found: Mapping[str, Any]) -> Row:
    """A video's row of clean and raw captions; a raw line belongs to the clean one of its time."""
    given = {name: _columns(captions) for name, captions in found.items()}
    raw = given.get("raw_text")
    clean = given.get("text")
    if clean is None:
        assert raw is not None  # noqa: S101 - a video comes from one of the two files
        texts = [content_words(Line(0, 0, text).spoken) for text in raw["text"]]
        return _row(raw, texts, raw["text"], raw.get("word_starts"), 0)
    if raw is None:
        return _row(clean, clean["text"], clean["text"], None, 0)
    by_time: defaultdict[tuple[float, float], list[int]] = defaultdict(list)
    for place, time in enumerate(zip(raw["start"], raw["end"], strict=True)):
        by_time[time].append(place)
    places = [
        by_time[time].pop(0) if by_time.get(time) else None
        for time in zip(clean["start"], clean["end"], strict=True)
    ]
    raw_texts = [
        text if place is None else raw["text"][place]
        for text, place in zip(clean["text"], places, strict=True)
    ]
    starts = raw.get("word_starts")
    words = starts and [None if place is None else starts[place] for place in places]
    return _row(clean, clean["text"], raw_texts, words, places.count(None))


def _row(
    columns: Mapping[str, Any], texts: list[str], raw: list[str], words: Any, unlike: int
) -> Row:
    row = {"start": columns["start"], "end": columns["end"], "text": texts, "raw_text": raw}
    return row | {"word_starts": words, "unlike": unlike}


def _columns(captions: Any) -> dict[str, Any]:
    """The columns of a video, checked. Raises ValueError that says what is wrong."""
    if isinstance(captions, str):
        raise ValueError(captions)
    try:
        start, end = ([float(second) for second in captions[name]] for name in ("start", "end"))
        columns: dict[str, list[Any]] = {
            "start": start,
            "end": end,
            "text": [_text(text) for text in captions["text"]],
        }
        if "word_starts" in captions:
            columns["word_starts"] = list(captions["word_starts"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no start, end and text: {type(error).__name__} {error}") from None
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise ValueError(f"its columns are not of one length: {lengths}")
    for number, times in enumerate(zip(start, end, strict=True)):
        if not all(map(math.isfinite, times)):
            raise ValueError(f"line {number} lasts from {times[0]} to {times[1]}")
    return columns


def _text(text: Any) -> str:
    """A caption; pandas made NaN of an empty one."""
    empty = text is None or (isinstance(text, float) and math.isnan(text))
    return "" if empty else " ".join(str(text).split())


def cut_captions(
    captions: Path, videos: Path, output: Path, *, excluded: frozenset[str], max_failed: float
) -> None:
    """Cut the videos of a shard by its captions; write its shard of the clips table."""
    table = read_table(captions)
    rows = {video_id: row for row, video_id in enumerate(table["video_id"].to_pylist())}
    listed = read_table(videos, ["video_id", "duration"]).to_pylist()

    def read(video_id: str) -> tuple[list[Caption], int]:
        if video_id not in rows:
            raise ItemError(Kind.NO_SUBTITLES, "the release has no captions of it")
        row = table.slice(rows[video_id], 1).to_pylist()[0]
        if row["error"]:
            raise ItemError(Kind.MALFORMED, row["error"])
        words = row["word_starts"] or [None] * len(row["start"])
        lines = zip(*(row[c] for c in ("start", "end", "text", "raw_text")), words, strict=True)
        found = [Caption(Line(s, e, raw, w), text) for s, e, text, raw, w in lines]
        shown = [caption for caption in found if caption.line.end > caption.line.start]
        return shown, len(found) - len(shown)

    tracks = [Track(v["video_id"], partial(read, v["video_id"]), v["duration"]) for v in listed]
    write_clips(tracks, output, excluded, max_failed)
