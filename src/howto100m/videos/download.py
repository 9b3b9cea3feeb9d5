"""Fetch the media of the videos that have subtitles, or take a folder of one's own."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from howto100m import tables
from howto100m.crawl import crawl_shard, open_journal
from howto100m.features.decode import ENDINGS
from howto100m.features.decoders import Decoder, Decoding, decoders
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import Row, read_table, run_items, write_shard
from howto100m.videos.streams import read_streams, streams_path
from howto100m.videos.youtube import YouTube

DURATION_SLACK, DURATION_SHARE = 2.0, 0.02
"""Seconds, or share of it, by which a file may miss the announced duration, a rounded one."""


def download_media(
    subtitles: Path, output: Path, folder: Path, youtube: YouTube, *, height: int, max_failed: float
) -> None:
    """Download every video of a subtitles shard into `folder`; write its shard of the media table.

    Only the video stream is fetched; a process that it may kill opens it. A file counts once it was
    read to its end and is about as long as announced, or as its own head says where that is not
    known. A shard of the videos table does as well.
    """
    videos = {v["video_id"]: v for v in read_table(subtitles, ["video_id", "duration"]).to_pylist()}
    known = read_streams(streams_path(subtitles))
    folder.mkdir(parents=True, exist_ok=True)
    for scraps in folder.glob(".part-*"):  # of a run that was killed
        shutil.rmtree(scraps)

    def download(video: Row) -> list[Row]:
        video_id, announced = video["video_id"], video["duration"]
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
            # Where they lead nowhere, the next try asks for new ones.
            fetched = youtube.download(video_id, Path(part), height, known.pop(video_id, None))
            row = describe_whole(looker, video_id, fetched, announced)
            kept = fetched.replace(folder / fetched.name)
        return [row | {"path": str(kept)}]

    with decoders(Decoding(), 1) as [looker]:
        crawl_shard(
            "videos downloaded",
            videos,
            download,
            output,
            tables.MEDIA,
            journal=open_journal(output, {"height": height, "videos_of": subtitles.parent.name}),
            patience=youtube.pace.patience,
            max_failed=max_failed,
            holds=lambda row: _is_there(Path(row["path"]), row["bytes"]),
        )
    streams_path(subtitles).unlink(missing_ok=True)


def collect_media(folder: Path, output: Path) -> None:
    """Describe the video files of a folder as a media table; a file's id is its name, bare."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of video files")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    if not files:
        raise UserError(f"{folder} holds no video file ({' '.join(sorted(ENDINGS))})")
    with decoders(Decoding(), 1) as [looker]:
        rows, outcomes = run_items(
            "videos opened",
            {p.stem: p for p in files},
            lambda path: [describe(looker, path.stem, path)],
        )
    write_shard(output, rows, tables.MEDIA, outcomes)


def describe_whole(looker: Decoder, video_id: str, path: Path, announced: float | None) -> Row:
    """A row of the media table for a file that arrived whole.

    Raises ItemError, worth another try, where it cannot be read or its pictures do not last as long
    as announced (s).
    """
    try:
        row, found = describe(looker, video_id, path), looker.last_second(path)
    except ItemError as error:
        if error.kind is not Kind.CORRUPT:
            raise
        raise ItemError(Kind.NETWORK, f"what arrived is no video: {error.message}") from error
    wanted = announced or row["duration"]
    if abs(found - wanted) > max(DURATION_SLACK, DURATION_SHARE * wanted):
        raise ItemError(Kind.NETWORK, f"{found:.1f} s arrived of {wanted:.1f} s announced")
    return row


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def describe(looker: Decoder, video_id: str, path: Path) -> Row:
    """A video file's row of the media table. Raises ItemError as `Decoder.probe`."""
    info = looker.probe(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "video_id": video_id,
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest,
        "width": info.width,
        "height": info.height,
        "duration": info.duration,
    }
