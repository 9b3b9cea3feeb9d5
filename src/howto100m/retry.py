"""Ask again for what failed in the crawling stages and is worth it; leave everything else alone."""

import logging
import os
from pathlib import Path

from howto100m.clips.subtitles import fetch_subtitles
from howto100m.crawl import settings_of
from howto100m.kinds import Fate, Kind, UserError
from howto100m.shards import Row, read_table, shard_paths, status_path
from howto100m.videos.download import download_media
from howto100m.videos.search import search_tasks
from howto100m.videos.select import Limits
from howto100m.videos.youtube import YouTube

log = logging.getLogger(__name__)

STAGES = ("search", "subtitles", "media")
"""The stages that ask YouTube, in the order of the line."""


def retry_failures(results: Path, store: Path, youtube: YouTube, stages: tuple[str, ...]) -> None:
    """Crawl again the shards of `results` in which items failed that are worth another try.

    Each shard is asked with the settings that it was made with, and only for those items. A table
    that comes out the same keeps its time, so that nothing that depends on it is built again. A
    media shard whose files were discarded is left alone: its features would need them all again.
    Raises StageStopped as the stages do, after which the next call goes on, and UserError where no
    stage is built.
    """
    built = [stage for stage in stages if (results / stage).is_dir()]
    if not built:
        raise UserError(f"{results} holds no stage's tables ({', '.join(stages)}): run snakemake")
    for stage in built:
        for table in shard_paths(results / stage):
            failed, settings = failures(table), settings_of(table)
            if not failed or settings is None:
                continue
            if stage == "media" and not _whole(table):
                log.warning("%s: its files are discarded: %d items left", table, len(failed))
                continue
            before, age = table.read_bytes(), table.stat()
            _crawl_again(stage, table, store, youtube, settings)
            if table.read_bytes() == before:
                os.utime(table, ns=(age.st_atime_ns, age.st_mtime_ns))
            settled = len(failed - failures(table))
            log.info("%s: %d of %d failed items are settled", table, settled, len(failed))


def failures(table: Path) -> set[str]:
    """The items of a table that failed and are worth another try."""
    status = read_table(status_path(table), ["id", "kind"]).to_pylist()
    return {row["id"] for row in status if row["kind"] and Kind(row["kind"]).fate is Fate.RETRY}


def _whole(media: Path) -> bool:
    return all(Path(path).is_file() for path in read_table(media, ["path"])["path"].to_pylist())


def _crawl_again(stage: str, table: Path, store: Path, youtube: YouTube, settings: Row) -> None:
    """The stage's own work on a shard, whatever share of it fails."""
    results, name = table.parents[1], table.name
    if stage == "search":
        search_tasks(results / "tasks" / name, table, youtube, max_failed=1.0, **settings)
    elif stage == "subtitles":
        limits = Limits(*(settings.pop(key) for key in ("max_rank", "min_views", "max_duration")))
        videos = results / "videos" / name
        fetch_subtitles(videos, table, youtube, limits=limits, max_failed=1.0, **settings)
    else:
        videos, folder = results / settings["videos_of"] / name, store / table.stem
        height = settings["height"]
        download_media(videos, table, folder, youtube, height=height, max_failed=1.0)
