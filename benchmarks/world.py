"""Simulate the crawl of HowTo100M at any size: days, requests, bytes, disk over time, GPUs, cost.

    .venv/bin/python benchmarks/world.py                 # the table of docs/running.md
    .venv/bin/python benchmarks/world.py --videos 1200000 --sessions 8 --gpus 2 --disk

Sessions (an address with its cookies each) take shard after shard: subtitles, then media. GPUs take
the shards whose media are there, first come first served, and delete the files. Nothing is asked of
any site. Every constant is an option; `--sources` says where its value comes from.
"""

import argparse
import heapq
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

SIZES = (1_000, 10_000, 100_000, 1_200_000)
GB, TB = 1e9, 1e12


def constant(value: float, source: str) -> float:
    """A field with the source of its value."""
    found: float = field(default=value, metadata={"source": source})
    return found


PAPER = "HowTo100M paper, section 3"
PACE = "config.yaml, pace (yt-dlp: 300 videos an hour for a guest)"
FORMATS = "docs/formats.md"


@dataclass(frozen=True)
class World:
    """What the simulation assumes, each with its source."""

    videos: float = constant(1_200_000, "yours: videos that have media and features at the end")
    sessions: float = constant(1, "yours: addresses that crawl at the same time (youtube)")
    gpus: float = constant(1, "yours")
    per_shard: float = constant(1024, "config.yaml, shards")
    videos_per_task: float = constant(51.7, f"{PAPER}: 1.22 million videos of 23,611 tasks")
    requests_per_task: float = constant(10, "tests/test_crawl.py: 200 results, 20 an answer")
    subtitled: float = constant(0.6, "assumed: share of the videos asked for that have English")
    lost: float = constant(0.045, "AVLnet: 1.166 of 1.22 million were left when it fetched them")
    again: float = constant(0.02, "assumed: requests that are made again")
    searches_per_hour: float = constant(500, f"{PACE}: requests for pages of results")
    players_per_hour: float = constant(280, f"{PACE}: player answers; tracks are as many at most")
    asked_twice: float = constant(1, "assumed: share whose streams no longer hold for the media")
    media_per_hour: float = constant(600, f"{PACE}: pieces of media")
    pieces_per_video: float = constant(2, "yt-dlp: 10 MB a piece at most")
    at_work: float = constant(0.9, "assumed: share of the time without a bot check or a limit")
    megabytes_per_second: float = constant(5, "assumed: of one session's download")
    bytes_per_video: float = constant(10e6, "the authors' 12 TB of 1.22 million videos, 360 lines")
    seconds_per_video: float = constant(396, f"{PAPER}: 134,472 h")
    clips_per_video: float = constant(110, PAPER)
    clips_per_second: float = constant(1000, "assumed, of a GPU; measured: 13 on 2 CPU cores")
    images_per_second: float = constant(1765, "timm: 2,348 at 224 x 224, RTX 4090; 298 x 224 here")
    core_hours_per_hour: float = constant(
        30 / 829, "docs/performance.md, decoding: 829 frames a second a core, of 30 a second"
    )
    subtitle_bytes: float = constant(10_000, "assumed: an ASR track of 6.5 minutes, compressed")
    feature_bytes_per_second: float = constant(10_240, f"{FORMATS}: 2.5 vectors of 4,096 bytes")
    pair_bytes_per_clip: float = constant(8_300, f"{FORMATS}: 8,192 bytes and its words")
    training_gpu_hours: float = constant(72, "the paper: less than 3 days on one P100, all videos")
    dollars_per_gpu_hour: float = constant(2.5, "assumed: set what yours cost")
    dollars_per_core_hour: float = constant(0.04, "assumed, likewise")
    dollars_per_tb_month: float = constant(20, "assumed, likewise")


@dataclass(frozen=True)
class Crawl:
    """What came of it. Bytes; `days` until the last features; `disk` is (day, media, tables)."""

    world: World
    tasks: float
    requests: float
    days: float
    downloaded: float
    most_media: float
    tables: float
    gpu_hours: float
    core_hours: float
    dollars: float
    disk: Sequence[tuple[float, float, float]]


def simulate(world: World) -> Crawl:
    """Run the crawl: tasks, search, then shards over sessions and GPUs."""
    tasks = world.videos / world.videos_per_task
    wanted = world.videos / (1 - world.lost)  # have subtitles; some of their media are gone
    asked = wanted / world.subtitled
    shards = max(1, round(wanted / world.per_shard))
    search = tasks * world.requests_per_task * (1 + world.again)
    players = (asked + wanted * world.asked_twice) * (1 + world.again) / shards
    tracks = wanted * (1 + world.again) / shards
    size = world.videos * world.bytes_per_video / shards
    pieces = wanted * world.pieces_per_video * (1 + world.again) / shards
    pauses = max(players / world.players_per_hour, pieces / world.media_per_hour) / world.at_work
    crawl_hours = max(pauses, size / (world.megabytes_per_second * 1e6) / 3600)
    per_video = world.seconds_per_video * (
        1.5 / world.clips_per_second + 1 / world.images_per_second
    )
    gpu_hours = world.videos * per_video / 3600
    searching = search / (world.searches_per_hour * world.at_work * world.sessions)
    ends = _run(searching, shards, crawl_hours, gpu_hours / shards, world)
    tables_each = (
        world.videos
        * (
            world.subtitle_bytes
            + world.feature_bytes_per_second * world.seconds_per_video
            + world.pair_bytes_per_clip * world.clips_per_video
        )
        / shards
    )
    disk = list(_disk(ends, size, tables_each))
    days = max(end for _, end in ends) / 24
    core_hours = world.videos * world.seconds_per_video / 3600 * world.core_hours_per_hour
    tables = tables_each * shards
    return Crawl(
        world,
        tasks,
        search + (players + tracks) * shards,
        days,
        world.videos * world.bytes_per_video,
        max(media for _, media, _ in disk),
        tables,
        gpu_hours,
        core_hours,
        (gpu_hours + _training(world)) * world.dollars_per_gpu_hour
        + core_hours * world.dollars_per_core_hour
        + tables / TB * world.dollars_per_tb_month * max(days / 30, 1),
        disk,
    )


def _run(
    begin: float, shards: int, crawl_hours: float, gpu_hours: float, world: World
) -> list[tuple[float, float]]:
    """When each shard's crawl began and its features were done, in hours."""
    sessions, gpus = [begin] * int(world.sessions), [0.0] * int(world.gpus)
    ends = []
    for _ in range(shards):
        started = heapq.heappop(sessions)
        fetched = started + crawl_hours
        heapq.heappush(sessions, fetched)
        done = max(heapq.heappop(gpus), fetched) + gpu_hours
        heapq.heappush(gpus, done)
        ends.append((started, done))
    return ends


def _disk(
    ends: Sequence[tuple[float, float]], size: float, tables: float
) -> Iterator[tuple[float, float, float]]:
    """Bytes of media and of tables after each event; a shard's media count from its start."""
    changes = sorted(
        [(started, size, 0.0) for started, _ in ends] + [(done, -size, tables) for _, done in ends]
    )
    media = kept = 0.0
    for hour, more_media, more_tables in changes:
        media, kept = media + more_media, kept + more_tables
        yield hour / 24, media, kept


def table() -> str:
    """The table of docs/running.md."""
    head = ["videos", *(f"{size:,}" for size in SIZES)]
    one = [simulate(World(videos=size)) for size in SIZES]
    eight = [simulate(World(videos=size, sessions=8, gpus=2)) for size in SIZES]
    rows = [
        ["tasks", *(f"{c.tasks:,.0f}" for c in one)],
        ["requests (media hosts apart)", *(f"{c.requests:,.0f}" for c in one)],
        ["days, 1 session and 1 GPU", *(_days(c.days) for c in one)],
        ["days, 8 sessions and 2 GPUs", *(_days(c.days) for c in eight)],
        ["media fetched", *(_bytes(c.downloaded) for c in one)],
        ["media held at once, 1 session", *(_bytes(c.most_media) for c in one)],
        ["media held at once, 8 sessions", *(_bytes(c.most_media) for c in eight)],
        ["tables at the end", *(_bytes(c.tables) for c in one)],
        ["GPU-hours of features", *(f"{c.gpu_hours:,.1f}" for c in one)],
        ["GPU-hours of training", *(f"{_training(c.world):,.1f}" for c in one)],
        ["core-hours of decoding", *(f"{c.core_hours:,.0f}" for c in one)],
        ["cost, 8 sessions ($)", *(f"{c.dollars:,.0f}" for c in eight)],
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _training(world: World) -> float:
    return world.training_gpu_hours * world.videos / SIZES[-1]


def _days(days: float) -> str:
    return f"{days:,.0f}" if days >= 10 else f"{days:.1f}"


def _bytes(number: float) -> str:
    return f"{number / TB:,.1f} TB" if number >= TB else f"{number / GB:,.0f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for setting in fields(World):
        flag = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(flag, type=float, help=setting.metadata["source"])
    parser.add_argument("--disk", action="store_true", help="disk over time, ten lines")
    parser.add_argument("--sources", action="store_true", help="every constant and its source")
    given = vars(parser.parse_args())
    disk, sources = given.pop("disk"), given.pop("sources")
    changed = {name: value for name, value in given.items() if value is not None}
    if sources:
        for setting in fields(World):
            print(f"| {setting.name} | {setting.default:,.4g} | {setting.metadata['source']} |")
    elif not changed:
        print(table())
    else:
        crawl = simulate(World(**changed))
        for name in ("tasks", "requests", "days", "gpu_hours", "core_hours", "dollars"):
            print(f"{name.replace('_', '-')}: {getattr(crawl, name):,.1f}")
        for name in ("downloaded", "most_media", "tables"):
            print(f"{name.replace('_', ' ')}: {_bytes(getattr(crawl, name))}")
        if disk:
            step = max(1, len(crawl.disk) // 10)
            for day, media, kept in [*crawl.disk[::step], crawl.disk[-1]]:
                print(f"day {day:.1f}: media {_bytes(media)}, tables {_bytes(kept)}")


if __name__ == "__main__":
    sys.exit(main())
