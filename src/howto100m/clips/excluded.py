"""The videos of the benchmarks, which leave the training pool."""

import csv
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from howto100m.kinds import UserError

log = logging.getLogger(__name__)

COLUMNS = ("video_id", "video", "youtube_id", "id")
"""Names under which csv files keep their videos, likeliest first."""
_YOUTUBE_ID = re.compile(r"[\w-]{11}")


def excluded_videos(sources: Sequence[str]) -> frozenset[str]:
    """The ids of the videos named by `sources`.

    A source is a file of ids, one a line; or a .csv or .tsv file with a column `video_id`, `video`,
    `youtube_id` or `id`; or FILE:COLUMN, with the column's name, or its number from 1 in a file
    without a head (CrossTask's videos_val.csv:2). Raises UserError for one that gives no id.
    """
    return frozenset(video for source in sources for video in _ids_of(source))


def split_source(source: str) -> tuple[Path, str]:
    """The file of a source, and its column ("" where the source names none)."""
    if ":" not in source or Path(source).exists():
        return Path(source), ""
    name, column = source.rsplit(":", 1)
    return Path(name), column


def _ids_of(source: str) -> set[str]:
    path, column = split_source(source)
    if not path.is_file():
        raise UserError(f"clips.exclude: {path} is no file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = _column(path, file, column) if column or _is_table(path) else iter(file)
        ids = {cell.strip() for cell in cells} - {""}
    if not ids:
        raise UserError(f"clips.exclude: {source} names no video")
    like = sum(bool(_YOUTUBE_ID.fullmatch(video)) for video in ids)
    if like < len(ids):
        log.warning("%s: %d of %d ids are not like YouTube's", source, len(ids) - like, len(ids))
    return ids


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv")


def _column(path: Path, file: Iterable[str], column: str) -> Iterator[str]:
    rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    if column.isdecimal():
        place = int(column) - 1
    else:
        head = next(rows, [])
        wanted = [name for name in ([column] if column else COLUMNS) if name in head]
        if not wanted:
            raise UserError(
                f"clips.exclude: {path} has no column {column or ' or '.join(COLUMNS)}, but"
                f" {', '.join(head) or 'nothing'}: name it, FILE:COLUMN"
            )
        place = head.index(wanted[0])
    for row in rows:
        if not 0 <= place < len(row):
            raise UserError(f"clips.exclude: {path}: line {rows.line_num} has no column {column}")
        yield row[place]
