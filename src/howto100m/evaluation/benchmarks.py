"""Benchmarks' lists of annotations, the official ones: what to look for in which videos."""

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from howto100m.kinds import UserError

CLIP_LIST = ("video_id", "start", "end", "text")
VIDEO_LIST = ("video_id", "sentence")
LSMDC_COLUMNS = 6


@dataclass(frozen=True)
class Clip:
    """A sentence and the clip it describes, start and end in seconds; inf is the video's end."""

    video_id: str
    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Segment:
    """Where a step (from 0) is to be seen, in seconds."""

    step: int
    start: float
    end: float


@dataclass(frozen=True)
class StepVideo:
    """A video of a task, the task's steps in order, and where they are to be seen."""

    task: str
    video_id: str
    steps: tuple[str, ...]
    segments: tuple[Segment, ...]
    title: str = ""
    narrated: tuple[Segment, ...] = ()
    """When the narration speaks of a step, where the release's constraints say so."""


def read_clip_list(path: Path) -> list[Clip]:
    """Read a list in the form of YouCook2's or MSR-VTT's: csv with a line that names the columns.

    video_id, start, end and text; or video_id and sentence, of whole videos. Other columns are left
    alone. Raises UserError that names file and line.
    """
    with _rows(path) as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or ()
        whole = set(VIDEO_LIST) <= set(columns)
        missing = [] if whole else [name for name in CLIP_LIST if name not in columns]
        if missing:
            raise UserError(f"{path}:1: no column {', '.join(missing)}")
        return [_clip(row, whole, f"{path}:{reader.line_num}") for row in reader]


def _clip(row: Mapping[str | None, str | None], whole: bool, where: str) -> Clip:
    names = VIDEO_LIST if whole else CLIP_LIST
    video_id, text = (row[name] or "" for name in (names[0], names[-1]))
    if None in row or not video_id or not text:
        raise UserError(f"{where}: not as many columns as the first line names, or an empty one")
    span = (0.0, math.inf) if whole else _span(row["start"] or "", row["end"] or "", where)
    return Clip(video_id, *span, text)


def read_video_ids(path: Path) -> list[str]:
    """The column video_id of a csv file. Raises UserError where there is none."""
    with _rows(path) as lines:
        reader = csv.DictReader(lines)
        if "video_id" not in (reader.fieldnames or ()):
            raise UserError(f"{path}:1: no column video_id")
        return [row["video_id"] for row in reader]


def read_lsmdc(path: Path) -> list[Clip]:
    """Read an annotation file of LSMDC: six columns between tabs, no head; each clip is a file.

    The first is the clip's id, the last its sentence; the times between are those in the film, and
    play no part. Raises UserError that names file and line.
    """
    clips = []
    with _rows(path) as lines:
        for number, row in enumerate(csv.reader(lines, "excel-tab", quoting=csv.QUOTE_NONE), 1):
            if len(row) != LSMDC_COLUMNS or not row[0] or not row[-1].strip():
                raise UserError(
                    f"{path}:{number}: {len(row)} columns between tabs, or an empty one; not clip,"
                    " four times, sentence"
                )
            clips.append(Clip(row[0], 0.0, math.inf, row[-1].strip()))
    return clips


def read_crosstask(folder: Path) -> list[StepVideo]:
    """Read a CrossTask release: the videos of its primary tasks, less those for validation.

    tasks_primary.txt (blocks of id, title, url, number of steps, steps, an empty line), videos.csv
    (task,video,url), annotations/<task>_<video>.csv (step from 1,start,end); and where they are
    there, tasks_related.txt (every other task of videos.csv), videos_val.csv and
    constraints/<task>_<video>.csv (when a step is spoken of, in the form of the annotations). A
    video without an annotation has no segments; a segment from one whole second to the same covers
    nothing and is left out. Raises UserError that names file and line.
    """
    tasks = dict(_tasks(folder / "tasks_primary.txt"))
    related, validation = folder / "tasks_related.txt", folder / "videos_val.csv"
    aside = set(_videos(validation)) if validation.exists() else set()
    known = tasks.keys() | (dict(_tasks(related)).keys() if related.exists() else set())
    found = []
    for task, video in _videos(folder / "videos.csv"):
        if related.exists() and task not in known:
            raise UserError(f"{folder / 'videos.csv'}: task {task} is in neither list of tasks")
        if task in tasks and (task, video) not in aside:
            title, steps = tasks[task]
            segments, narrated = (
                _segments(folder / kind / f"{task}_{video}.csv", len(steps))
                for kind in ("annotations", "constraints")
            )
            found.append(StepVideo(task, video, steps, segments, title, narrated))
    return found


def _tasks(path: Path) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    with _rows(path) as file:
        lines = [line.strip() for line in file]
    place = 0
    while place < len(lines):
        if lines[place]:
            task, *block = lines[place : place + 5]
            names = tuple(name.strip() for name in block[-1].split(",")) if block else ()
            if len(block) < 4 or block[2] != str(len(names)) or not all(names):
                raise UserError(
                    f"{path}:{place + 1}: task {task} does not name as many steps as it says"
                )
            yield task, (block[0], names)
        place += 5 if lines[place] else 1


def _videos(path: Path) -> Iterator[tuple[str, str]]:
    with _rows(path) as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            if len(row) != 3:
                raise UserError(f"{path}:{number}: {len(row)} columns, not task,video,url")
            yield row[0], row[1]


def _segments(path: Path, steps: int) -> tuple[Segment, ...]:
    if not path.exists():
        return ()
    segments = []
    with _rows(path) as lines:
        for number, row in enumerate(csv.reader(lines), 1):
            where = f"{path}:{number}"
            if len(row) != 3 or not row[0].isdecimal() or not 1 <= int(row[0]) <= steps:
                raise UserError(f"{where}: not step,start,end with a step from 1 to {steps}")
            segments.append(Segment(int(row[0]) - 1, *_span(row[1], row[2], where)))
    return tuple(s for s in segments if math.floor(s.start) < math.ceil(s.end))


def _span(start: str, end: str, where: str) -> tuple[float, float]:
    try:
        span = float(start), float(end)
    except ValueError:
        raise UserError(f"{where}: {start!r}, {end!r} are not two numbers of seconds") from None
    if not 0 <= span[0] <= span[1] < math.inf:
        raise UserError(f"{where}: {start} to {end} is no time span")
    return span


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a text file. Raises UserError when it is missing or no text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the benchmark's annotations") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no readable list: {error}") from None
