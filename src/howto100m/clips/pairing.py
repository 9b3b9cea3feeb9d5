"""Cut each video into clips: one subtitle line, its words, its seconds (section 3.2)."""

import codecs
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from howto100m import tables
from howto100m.clips.captions import Line, lines_of, read_cues
from howto100m.clips.marks import content_words
from howto100m.clips.sentences import sentences_of
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import (
    Progress,
    Row,
    attempt,
    check_failures,
    read_table,
    statistics_path,
    status_path,
    table_writer,
    write_status,
)

log = logging.getLogger(__name__)

UNITS: Mapping[str, Callable[[Sequence[Line]], Sequence[Line]]] = {
    "line": lambda lines: lines,
    "sentence": sentences_of,
}
"""What a clip is: the paper's subtitle line, or a sentence joined of lines."""
ROUNDING = 1.0
"""Seconds by which a file may outlast the announced length, which sites give in whole seconds."""
ROWS_AT_ONCE = 50_000
ENDINGS = frozenset({".vtt", ".srt"})


@dataclass(frozen=True)
class Caption:
    """A line with its text in the paper's form; the text is empty where no content word is left."""

    line: Line
    text: str


@dataclass(frozen=True)
class Track:
    """A video's captions, read when it is its turn, and its length (s) where that is known.

    `read` returns the captions and the number of cues that were never shown.
    """

    video_id: str
    read: Callable[[], tuple[Sequence[Caption], int]]
    length: float | None = None


@dataclass
class Statistics:
    """What became of a video's lines: lines = clips + empty + outside."""

    video_id: str
    lines: int = 0
    clips: int = 0
    empty: int = 0
    outside: int = 0
    cut: int = 0
    backward: int = 0
    seconds: float = 0.0
    words: int = 0


def clips_of(
    captions: Sequence[Caption], length: float | None, statistics: Statistics
) -> list[Row]:
    """The clips of a video: a caption each, numbered in order; one without content words is none.

    What lies beyond the video's `length` (s) is left out, and what reaches beyond it is cut.
    `statistics` is counted up. Raises ItemError (no_clips) when nothing is left.
    """
    rows: list[Row] = []
    limit = float("inf") if length is None else length
    for line, text in ((caption.line, caption.text) for caption in captions):
        statistics.lines += 1
        if not text:
            statistics.empty += 1
        elif line.start >= limit:
            statistics.outside += 1
        else:
            end = min(line.end, limit)
            statistics.cut += end < line.end
            statistics.clips += 1
            statistics.seconds += end - line.start
            statistics.words += text.count(" ") + 1
            rows.append(
                {
                    "video_id": statistics.video_id,
                    "clip": len(rows),
                    "start": line.start,
                    "end": end,
                    "text": text,
                    "raw_text": line.raw_text,
                    "word_starts": line.word_starts,
                }
            )
    if not rows:
        beyond = f", {statistics.outside} lie beyond {limit:g} s" if statistics.outside else ""
        message = f"of {statistics.lines} lines {statistics.empty} have no content word{beyond}"
        raise ItemError(Kind.NO_CLIPS, message)
    return rows


def captions_of(vtt: str, unit: str) -> tuple[list[Caption], int]:
    """The captions of a track, and the number of its cues that do not end after their start.

    Raises ItemError (malformed), which names the cue.
    """
    cues = read_cues(vtt)
    backward = sum(cue.end <= cue.start for cue in cues)
    return [Caption(c, content_words(c.spoken)) for c in UNITS[unit](lines_of(cues))], backward


def cut_clips(
    subtitles: Path, output: Path, *, unit: str, excluded: frozenset[str], max_failed: float
) -> None:
    """Cut the videos of a subtitles shard; write its shard of the clips table."""
    table = read_table(subtitles, ["video_id", "vtt", "duration"])
    vtts = table["vtt"]

    def captions(row: int) -> tuple[Sequence[Caption], int]:
        return captions_of(vtts[row].as_py(), unit)

    ids, durations = (table[c].to_pylist() for c in ("video_id", "duration"))
    tracks = [
        Track(video_id, partial(captions, row), duration + ROUNDING)
        for row, (video_id, duration) in enumerate(zip(ids, durations, strict=True))
    ]
    write_clips(tracks, output, excluded, max_failed)


def cut_files(
    vtt: Sequence[Path],
    media: Path | None,
    output: Path,
    *,
    unit: str,
    excluded: frozenset[str],
    max_failed: float,
) -> None:
    """Cut subtitle files (.vtt, .srt), or those of folders, into one clips table.

    A file's id is its name up to the first dot. `media` is the table of the videos' lengths.
    Raises UserError when there is no file, or two with one id.
    """
    lengths: dict[str, float] = {}
    if media:
        known = read_table(media, ["video_id", "duration"])
        lengths = dict(
            zip(known["video_id"].to_pylist(), known["duration"].to_pylist(), strict=True)
        )
    tracks: dict[str, Track] = {}
    for path in _files(vtt):
        video_id = path.name.split(".")[0]
        if video_id in tracks:
            raise UserError(
                f"{path}: another file has the id {video_id} (name up to the first dot)"
            )
        read = partial(_read_file, path, unit)
        tracks[video_id] = Track(video_id, read, lengths.get(video_id))
    if not tracks:
        raise UserError(f"no .vtt or .srt file in {', '.join(map(str, vtt))}")
    write_clips(list(tracks.values()), output, excluded, max_failed)


def _files(paths: Sequence[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        elif path.is_file():
            yield path
        else:
            raise UserError(f"{path} is no file")


def _read_file(path: Path, unit: str) -> tuple[list[Caption], int]:
    data = path.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return captions_of(data.decode("utf-16" if utf16 else "utf-8-sig"), unit)
    except UnicodeDecodeError as error:
        cue = data[: error.start].count(b"-->")
        message = f"cue {cue}: byte {error.start} is not {error.encoding}; save the file as UTF-8"
        raise ItemError(Kind.MALFORMED, message) from error


def write_clips(
    tracks: Sequence[Track], output: Path, excluded: frozenset[str], max_failed: float
) -> None:
    """Write the clips of `tracks`, with the status and the statistics of every video beside them.

    The videos of `excluded` leave the training pool here: they have no clips (evaluation_video).
    Memory does not grow with the number of clips. Raises StageStopped when more than the share
    `max_failed` of the tracks failed.
    """
    outcomes = []
    statistics: list[Statistics] = []
    progress = Progress("videos cut", len(tracks))

    def cut(track: Track) -> list[Row]:
        if track.video_id in excluded:
            raise ItemError(Kind.EVALUATION_VIDEO, "a benchmark evaluates on it")
        counts = Statistics(track.video_id)
        captions, counts.backward = track.read()
        statistics.append(counts)
        return clips_of(captions, track.length, counts)

    with ExitStack() as stack:
        writer = stack.enter_context(table_writer(output, tables.CLIPS))
        beside = stack.enter_context(table_writer(statistics_path(output), tables.CLIP_STATISTICS))
        rows: list[Row] = []
        for track in tracks:
            outcome, found = attempt(track.video_id, partial(cut, track))
            rows += found
            outcomes.append(outcome)
            progress.count(outcome)
            if len(rows) >= ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema=tables.CLIPS))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema=tables.CLIPS))
        counted = (asdict(video) for video in statistics)
        beside.write_table(pa.Table.from_pylist(list(counted), schema=tables.CLIP_STATISTICS))
        check_failures("clips", outcomes, max_failed)
    write_status(status_path(output), outcomes)
    log.info("%s", summary(statistics))


def summary(statistics: Sequence[Statistics]) -> str:
    """What became of all lines, in words."""
    counts = {
        name: sum(getattr(video, name) for video in statistics)
        for name in ("lines", "clips", "empty", "outside", "cut", "backward")
    }
    return (
        "{lines} lines: {clips} clips ({cut} cut to their video's length), {empty} without a"
        " content word, {outside} beyond their video's end; {backward} cues end before they start"
    ).format(**counts)
