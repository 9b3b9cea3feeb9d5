"""Retry: what failed and is worth it is asked again, and nothing else is."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from howto100m import tables
from howto100m.clips.subtitles import KINDS, fetch_subtitles
from howto100m.kinds import UserError
from howto100m.retry import failures, retry_failures
from howto100m.sample.proxy import Request, Response
from howto100m.sample.records import Step
from howto100m.sample.render import render
from howto100m.sample.sites import sites
from howto100m.sample.world import World, make_world
from howto100m.shards import Row, read_table, shard_path, status_path, write_table
from howto100m.videos.download import download_media
from howto100m.videos.search import search_tasks
from howto100m.videos.select import Limits, select_videos
from howto100m.videos.streams import keep_streams, read_streams
from howto100m.videos.youtube import YouTube

LIMITS = Limits(max_rank=200, min_views=100, max_duration=2000)
Fault = Callable[[Request], Response | None]


@pytest.fixture(scope="module")
def known() -> World:
    """A world whose good videos last 3 s."""
    whole = make_world(4, 6)
    short = (Step(0, 3, "grey"),)
    small = {"seconds": 3, "width": 64, "height": 48, "steps": short}
    videos = {n: replace(v, **small) if v.media else v for n, v in whole.videos.items()}
    return replace(whole, videos=videos)


@pytest.fixture(scope="module")
def world(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world in a folder; its videos share one file."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "media").mkdir()
    first, *others = [v for v in known.videos.values() if v.media]
    render(first, folder / "media" / f"{first.video_id}.mp4")
    for video in others:
        copy = folder / "media" / f"{video.video_id}.mp4"
        copy.hardlink_to(folder / "media" / f"{first.video_id}.mp4")
    known.save(folder / "world.json")
    return folder


def crawl(
    world: Path, known: World, results: Path, fault: Fault | None = None, log: Path | None = None
) -> None:
    """From tasks to media in one shard each; any share may fail."""
    tasks = [
        {"task_id": str(n), "title": query.removeprefix("how to "), "visual": True}
        | {"category_1": "Food", "category_2": "", "verb": "make", "reason": ""}
        for n, query in enumerate(known.searches)
    ]
    paths = {s: shard_path(results / s, 0) for s in ("tasks", "search", "videos", "subtitles")}
    write_table(paths["tasks"], tasks, tables.TASKS)
    with sites(world, log, fault) as door:
        youtube = YouTube(proxy=door.proxy)
        search_tasks(paths["tasks"], paths["search"], youtube, results=200, max_failed=1.0)
        select_videos([paths["search"]], [paths["tasks"]], results / "videos", 1, LIMITS)
        fetch_subtitles(
            paths["videos"],
            paths["subtitles"],
            youtube,
            kinds=KINDS,
            min_words=100,
            limits=LIMITS,
            max_failed=1.0,
        )
        media, store = shard_path(results / "media", 0), results / "store" / "00000"
        download_media(paths["subtitles"], media, store, youtube, height=360, max_failed=1.0)


def down(*paths: str) -> Fault:
    return lambda request: Response(status=403) if request.path in paths else None


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)


@pytest.fixture
def clean(world: Path, known: World, tmp_path: Path) -> Iterator[Path]:
    crawl(world, known, tmp_path / "clean")
    yield tmp_path / "clean"


def facts(table: Path) -> list[Row]:
    rows = read_table(table).to_pylist()
    return [{key: value for key, value in row.items() if key != "path"} for row in rows]


def fates(table: Path) -> list[tuple[str, str | None, str]]:
    rows = read_table(status_path(table)).to_pylist()
    return [(row["id"], row["kind"], row["message"]) for row in rows]


def asked(log: Path) -> list[str]:
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line["video_id"] for line in lines]


def test_a_retry_ends_in_the_tables_of_a_run_without_faults(
    world: Path, known: World, tmp_path: Path, clean: Path
) -> None:
    results, log = tmp_path / "faulty", tmp_path / "log.jsonl"
    some = sorted(v.video_id for v in known.videos.values() if not v.reason)[:3]

    def fault(request: Request) -> Response | None:
        fails = request.query.get("v") in some[:2] or request.query.get("id") == some[2]
        return Response(status=403) if fails else None

    crawl(world, known, results, fault)
    assert failures(shard_path(results / "subtitles", 0)) == set(some[:2])
    assert failures(shard_path(results / "media", 0)) == {some[2]}
    with sites(world, log) as door:
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("subtitles",))
    assert set(asked(log)) == set(some[:2])
    log.unlink()
    with sites(world, log) as door:
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("media",))
    # Two videos came in with the subtitles, one failed.
    assert set(asked(log)) == set(some)
    for stage in ("search", "videos", "subtitles", "media"):
        table = shard_path(results / stage, 0)
        assert facts(table) == facts(shard_path(clean / stage, 0)), stage
        assert fates(table) == fates(shard_path(clean / stage, 0)), stage
    subtitles = [shard_path(folder / "subtitles", 0).read_bytes() for folder in (results, clean)]
    assert subtitles[0] == subtitles[1]


def requests_of(log: Path, path: str) -> Counter[str]:
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return Counter(line["video_id"] for line in lines if line["path"] == path)


PLAYER, TRACK, MEDIA = "/youtubei/v1/player", "/api/timedtext", "/videoplayback"


def test_a_video_costs_a_player_request_a_track_and_its_media(
    world: Path, known: World, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    crawl(world, known, tmp_path / "results", log=log)
    got = read_table(shard_path(tmp_path / "results" / "media", 0))["video_id"].to_pylist()
    assert requests_of(log, MEDIA) == Counter(got) and len(got) == 6
    players = requests_of(log, PLAYER)
    assert {video_id: players[video_id] for video_id in got} == dict.fromkeys(got, 1)
    assert set(requests_of(log, TRACK).values()) == {1}
    assert not list(tmp_path.rglob("*.streams.jsonl"))


@pytest.mark.parametrize("expired", [True, False])
def test_streams_that_lead_nowhere_cost_another_player_request(
    world: Path, known: World, tmp_path: Path, expired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, refused = tmp_path / "log.jsonl", set[str]()

    def refuse_once(request: Request) -> Response | None:
        name = request.query.get("id", "")
        if expired or request.path != MEDIA or name in refused:
            return None
        refused.add(name)
        return Response(status=403)

    if expired:
        monkeypatch.setattr("howto100m.videos.streams.MARGIN", 7 * 3600.0)
    crawl(world, known, tmp_path / "results", refuse_once, log)
    got = read_table(shard_path(tmp_path / "results" / "media", 0))["video_id"].to_pylist()
    players = requests_of(log, PLAYER)
    assert len(got) == 6 and {players[video_id] for video_id in got} == {2}


def test_streams_that_a_kill_cut_short_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "00000.streams.jsonl"
    url = {"url": f"https://x/videoplayback?expire={int(time.time()) + 5000}"}
    keep_streams(path, "a" * 11, {"formats": [url]})
    with path.open("ab") as file:
        file.write(b'["bbbbbbbbbbb", {"form')
    keep_streams(path, "c" * 11, {"formats": [url]})
    keep_streams(path, "d" * 11, {"formats": []})
    keep_streams(path, "e" * 11, {"formats": [url, {"url": "https://x/y"}]})
    assert set(read_streams(path)) == {"a" * 11}


def test_a_retry_leaves_alone_what_did_not_change(
    world: Path, known: World, tmp_path: Path
) -> None:
    results, log = tmp_path / "results", tmp_path / "log.jsonl"
    crawl(world, known, results, down("/videoplayback"))
    media = shard_path(results / "media", 0)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("?????.parquet")}
    failed = failures(media)
    assert failed
    with sites(world, log, fault=down("/videoplayback")) as door:
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("search", "media"))
    assert set(asked(log)) <= failed | {""}
    assert failures(media) == failed
    assert {path: path.stat().st_mtime_ns for path in before} == before
    log.unlink()
    with sites(world, log) as door:
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("search", "media"))
        assert not failures(media)
        assert media.stat().st_mtime_ns > before[media]
        log.unlink()
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("search", "media"))
    assert not log.exists()


def test_a_media_shard_whose_files_are_gone_is_left_alone(
    world: Path, known: World, tmp_path: Path
) -> None:
    results, log = tmp_path / "results", tmp_path / "log.jsonl"
    one = min(v.video_id for v in known.videos.values() if not v.reason)
    crawl(
        world,
        known,
        results,
        lambda request: Response(status=403) if request.query.get("id") == one else None,
    )
    shutil.rmtree(results / "store")
    with sites(world, log) as door:
        retry_failures(results, results / "store", YouTube(proxy=door.proxy), ("media",))
    assert not log.exists()
    assert failures(shard_path(results / "media", 0)) == {one}


def test_nothing_built_is_nothing_to_retry(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no stage"):
        retry_failures(tmp_path, tmp_path, YouTube(), ("search", "media"))
