"""Write the tables as files that other training code reads."""

import csv
import io
import json
import logging
import pickle
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from howto100m.features.pairs import FeatureTable, unit
from howto100m.kinds import ItemError, UserError
from howto100m.progress import counted
from howto100m.release.listing import OWN_COLUMNS, VIDEO_COLUMNS, write_listing, write_titles
from howto100m.shards import Row, read_table, shard_paths, whole_file

log = logging.getLogger(__name__)

Captions = dict[str, list[Any]]


def export_release(results: Path, output: Path) -> None:
    """Write the official release's files, and what its training code and MIL-NCE's read.

    * `HowTo100M_v1.csv`, and `task_ids.csv` where there are tasks.
    * `caption.json` and `.pickle`, `raw_caption.json` (with `word_starts` where the track had
      them), `captions/<video_id>.csv` for MIL-NCE.
    * `HowTo100M_train.csv`: the videos that have clips, with the columns `task` and `path` that the
      official loader asks for; `path` is `<video_id>.npy`, as `export --to npy` names it.
    * `howto100m_videos.csv`: the media files' names, for MIL-NCE.
    * `videos.csv`: the list with every column of the videos table.

    Memory holds a shard of clips at a time, and the ids of the videos.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_listing(output / "HowTo100M_v1.csv", _rows(results, "videos"), VIDEO_COLUMNS)
    columns = (*VIDEO_COLUMNS, *OWN_COLUMNS)
    write_listing(output / "videos.csv", _rows(results, "videos"), columns)
    if _has(results, "tasks"):
        tasks = ((t["task_id"], t["title"]) for t in _rows(results, "tasks") if t["visual"])
        write_titles(output / "task_ids.csv", tasks)
    with_clips: set[str] = set()
    folder = output / "captions"
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        add_text = stack.enter_context(_JsonObject(output / "caption.json"))
        add_raw = stack.enter_context(_JsonObject(output / "raw_caption.json"))
        for video_id, captions in captions_of_all(results):
            with_clips.add(video_id)
            add_text(video_id, {name: captions[name] for name in ("start", "end", "text")})
            add_raw(video_id, raw_captions(captions))
            (folder / f"{video_id}.csv").write_text(captions_csv(captions), encoding="utf-8")
    with whole_file(output / "caption.pickle") as part, part.open("wb") as file:
        pickler = pickle.Pickler(file, protocol=4)
        pickler.fast = True  # no memo, which would hold every caption
        pickler.dump(_Dict(_text_captions(results)))
    trained = (
        video | {"task": video["task_id"], "path": f"{video['video_id']}.npy"}
        for video in _rows(results, "videos")
        if video["video_id"] in with_clips
    )
    write_listing(output / "HowTo100M_train.csv", trained, (*VIDEO_COLUMNS, "task", "path"))
    if _has(results, "media"):
        names = sorted(Path(m["path"]).name for m in _rows(results, "media"))
        (output / "howto100m_videos.csv").write_text("\n".join(["video_path", *names, ""]))
    videos = sum(pq.read_metadata(path).num_rows for path in shard_paths(results / "videos"))
    log.info("%d videos, %d of them with clips, written to %s", videos, len(with_clips), output)


def export_arrays(results: Path, output: Path, *, normalise: bool) -> None:
    """Write `features_2d/<video_id>.npy` and `features_3d/…`: float16 [n, 2048], a file a video.

    `normalise` scales every vector to length 1, as the official extractor does.
    """
    for network in ("2d", "3d"):
        folder = output / f"features_{network}"
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for shard in counted("shards' vectors", shard_paths(results / "features" / network)):
            table = FeatureTable.open(shard)
            for video_id in table.groups:
                with whole_file(folder / f"{video_id}.npy") as part, part.open("wb") as file:
                    np.save(file, _vectors(table, video_id, normalise))
            written += len(table.groups)
        log.info("%d videos written to %s", written, folder)


def export_webdataset(results: Path, output: Path, *, normalise: bool) -> None:
    """Write a tar a shard, as webdataset reads it: the files of a video share its id as their name.

    `.json` has its captions; `.2d.npy`, `.3d.npy` its vectors and `.mp4` (or what it is) the video
    itself, where they are there.
    """
    output.mkdir(parents=True, exist_ok=True)
    for shard in counted("shards written", shard_paths(results / "clips")):
        tables = {network: results / "features" / network / shard.name for network in ("2d", "3d")}
        features = {n: FeatureTable.open(table) for n, table in tables.items() if table.exists()}
        videos = {v["video_id"]: v for v in _shard_rows(results / "videos" / shard.name)}
        media = _shard_rows(results / "media" / shard.name)
        paths = {row["video_id"]: Path(row["path"]) for row in media}
        with whole_file(output / f"{shard.stem}.tar") as part, tarfile.open(part, "w") as tar:
            for video_id, captions in captions_of_shard(shard):
                facts = {k: v for k, v in videos.get(video_id, {}).items() if k != "tasks"}
                text = json.dumps(facts | {"video_id": video_id} | captions, ensure_ascii=False)
                _add(tar, f"{video_id}.json", text.encode())
                for network, table in features.items():
                    if video_id in table.groups:
                        buffer = io.BytesIO()
                        np.save(buffer, _vectors(table, video_id, normalise))
                        _add(tar, f"{video_id}.{network}.npy", buffer.getvalue())
                if (path := paths.get(video_id)) and path.exists():
                    tar.add(path, f"{video_id}{path.suffix}", filter=_plain)


def captions_of_all(results: Path) -> Iterator[tuple[str, Captions]]:
    """Every video that has clips with its captions, shard by shard."""
    for shard in counted("shards' captions", shard_paths(results / "clips")):
        yield from captions_of_shard(shard)


def captions_of_shard(clips: Path) -> Iterator[tuple[str, Captions]]:
    """The videos of a clips table: parallel lists of start, end, text, raw_text, word_starts."""
    rows = _table_rows(clips)
    for video_id, of_video in groupby(rows, key=itemgetter("video_id")):
        clips_of_video = list(of_video)
        names = ("start", "end", "text", "raw_text", "word_starts")
        yield video_id, {name: [clip[name] for clip in clips_of_video] for name in names}


def raw_captions(captions: Captions) -> Captions:
    """As in raw_caption.json, and when each word begins (ms), where any line says so."""
    raw = {"start": captions["start"], "end": captions["end"], "text": captions["raw_text"]}
    if any(captions["word_starts"]):
        raw["word_starts"] = [
            starts and [round(second, 3) for second in starts] for starts in captions["word_starts"]
        ]
    return raw


def captions_csv(captions: Captions) -> str:
    """As in the release's folder of a csv a video."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("start", "end", "text"))
    writer.writerows(zip(captions["start"], captions["end"], captions["text"], strict=True))
    return text.getvalue()


def _text_captions(results: Path) -> Iterator[tuple[str, Captions]]:
    for video_id, captions in captions_of_all(results):
        yield video_id, {name: captions[name] for name in ("start", "end", "text")}


class _Dict(dict[str, Any]):
    """Pickles as a plain dict of the items that an iterator gives, one at a time."""

    def __init__(self, items: Iterator[tuple[str, Any]]):
        super().__init__()
        self.given = items

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), None, None, self.given


class _JsonObject:
    """A JSON object that is written a member at a time."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> Callable[[str, Any], None]:
        self.stack = ExitStack()
        part = self.stack.enter_context(whole_file(self.path))
        file = self.stack.enter_context(part.open("w", encoding="utf-8"))
        separator = "{"

        def add(key: str, value: Any) -> None:
            nonlocal separator
            file.write(f"{separator}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
            separator = ",\n"

        self.stack.callback(lambda: file.write("{}\n" if separator == "{" else "}\n"))
        return add

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)


def _vectors(table: FeatureTable, video_id: str, normalise: bool) -> npt.NDArray[np.float16]:
    try:
        rows = table.rows(video_id)
        return unit(rows.astype(np.float32)).astype("<f2") if normalise else rows
    except ItemError as error:
        raise UserError(f"{video_id}: {error}: build its features anew") from error


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time: the same tables give the same bytes."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


def _has(results: Path, stage: str) -> bool:
    folder = results / stage
    return folder.is_dir() and any("." not in path.stem for path in folder.glob("*.parquet"))


def _rows(results: Path, stage: str) -> Iterable[Row]:
    for shard in shard_paths(results / stage):
        yield from _table_rows(shard)


def _shard_rows(path: Path) -> Iterable[Row]:
    """The rows of a shard of a stage that the line may have done without."""
    return _table_rows(path) if path.exists() else ()


def _table_rows(path: Path) -> Iterator[Row]:
    read_table(path, [])  # says what is wrong where it is none
    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()
