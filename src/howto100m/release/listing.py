"""The release's lists: HowTo100M_v1.csv (videos) and task_ids.csv (tasks), in and out."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from howto100m import tables
from howto100m.kinds import UserError
from howto100m.shards import Row
from howto100m.videos.select import Limits, write_videos

VIDEO_COLUMNS = ("video_id", "category_1", "category_2", "rank", "task_id")
"""The head of HowTo100M_v1.csv."""
OWN_COLUMNS = ("title", "channel", "views", "duration", "tasks")
"""What the videos table has beside; a list may have them too, and need not."""


def read_videos(listing: Path) -> Iterator[Row]:
    """The rows of HowTo100M_v1.csv, as rows of the videos table.

    Raises UserError that names the line where there is no such row.
    """
    with _opened(listing) as file:
        rows = csv.DictReader(file)
        missing = [name for name in VIDEO_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UserError(
                f"{listing} has no column {', '.join(missing)}: is it HowTo100M_v1.csv?"
            )
        for row in rows:
            try:
                yield _video(row)
            except (ValueError, TypeError, AttributeError) as error:
                raise UserError(f"{listing}: line {rows.line_num}: {error}") from None


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is no file")
    return path.open(encoding="utf-8-sig", newline="")


def _video(row: dict[str, str]) -> Row:
    video_id, task_id, rank = row["video_id"].strip(), row["task_id"].strip(), int(row["rank"])
    if not video_id or not task_id:
        raise ValueError("a video needs video_id and task_id")
    found = json.loads(row["tasks"]) if row.get("tasks") else [[task_id, rank]]
    return {
        "video_id": video_id,
        "task_id": task_id,
        "rank": rank,
        "tasks": [{"task_id": task, "rank": place} for task, place in found],
        "category_1": row["category_1"],
        "category_2": row["category_2"],
        "title": row.get("title") or "",
        "channel": row.get("channel") or "",
        "views": int(row["views"]) if row.get("views") else None,
        "duration": float(row["duration"]) if row.get("duration") else None,
        "live": "",
    }


def import_videos(listing: Path, output: Path, shards: int, limits: Limits) -> None:
    """Write the shards of the videos table from HowTo100M_v1.csv.

    A video that is listed for several tasks belongs to the one that ranks it best. Views and
    duration, which the list does not tell, refuse no video.
    """
    best: dict[str, Row] = {}
    for row in read_videos(listing):
        known = best.setdefault(row["video_id"], row)
        if known is not row:
            tasks = sorted(known["tasks"] + row["tasks"], key=lambda t: (t["rank"], t["task_id"]))
            first = min(known, row, key=lambda v: (v["rank"], v["task_id"]))
            best[row["video_id"]] = first | {"tasks": tasks}
    schema = tables.VIDEOS.append(pa.field("live", pa.string()))
    write_videos(pa.Table.from_pylist(list(best.values()), schema=schema), output, shards, limits)


def write_listing(path: Path, videos: Iterable[Row], columns: Iterable[str]) -> None:
    """Write rows as a csv with these columns; a list goes as JSON, null as nothing."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for video in videos:
            tasks = [[task["task_id"], task["rank"]] for task in video["tasks"]]
            writer.writerow(video | {"tasks": json.dumps(tasks)})


def write_titles(path: Path, titles: Iterable[tuple[str, str]]) -> None:
    """Write task_ids.csv, without a head."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{task_id}\t{' '.join(title.split())}\n" for task_id, title in titles)
