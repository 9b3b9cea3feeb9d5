"""Cut each video into clips: one subtitle line, its words, its seconds (section 3.2)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from howto100m import tables
from howto100m.clips.captions import Line, content_words, lines_of, read_cues
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Row, read_table, run_items, write_shard

log = logging.getLogger(__name__)


def clips_of(video_id: str, lines: Sequence[Line]) -> list[Row]:
    """The clips of a video: a line each, numbered in order; a line without content words is none.

    Raises ItemError (no_clips) when no line has any.
    """
    rows: list[Row] = []
    for line in lines:
        if text := content_words(line.spoken):
            rows.append(
                {
                    "video_id": video_id,
                    "clip": len(rows),
                    "start": line.start,
                    "end": line.end,
                    "text": text,
                    "raw_text": line.raw_text,
                }
            )
    if not rows:
        raise ItemError(Kind.NO_CLIPS, f"none of {len(lines)} lines has a content word")
    return rows


def cut_clips(subtitles: Path, output: Path, max_failed: float) -> None:
    """Cut the videos of a subtitles shard; write its shard of the clips table."""
    tracks = read_table(subtitles, ["video_id", "vtt"]).to_pylist()
    _write(output, {t["video_id"]: partial(str, t["vtt"]) for t in tracks}, max_failed)


def read_clips(vtt: Sequence[Path], output: Path, max_failed: float) -> None:
    """Cut VTT files, or those of folders, into one clips table.

    A file's id is its name up to the first dot. Raises UserError when there is no file, or two
    with one id.
    """
    tracks: dict[str, Callable[[], str]] = {}
    for path in (file for p in vtt for file in (sorted(p.glob("*.vtt")) if p.is_dir() else [p])):
        if not path.is_file():
            raise UserError(f"{path} is no file")
        video_id = path.name.split(".")[0]
        if video_id in tracks:
            raise UserError(
                f"{path}: another file has the id {video_id} (name up to the first dot)"
            )
        tracks[video_id] = partial(path.read_text, encoding="utf-8", errors="replace")
    if not tracks:
        raise UserError(f"no .vtt file in {', '.join(map(str, vtt))}")
    _write(output, tracks, max_failed)


def _write(output: Path, tracks: Mapping[str, Callable[[], str]], max_failed: float) -> None:
    rows, outcomes = run_items(
        "videos cut",
        {video_id: (video_id, read) for video_id, read in tracks.items()},
        lambda track: clips_of(track[0], lines_of(read_cues(track[1]()))),
        max_failed=max_failed,
    )
    write_shard(output, rows, tables.CLIPS, outcomes)
    log.info("%d clips of %d videos", len(rows), len(tracks))
