"""The crawling stages against the sample's sites: every item's fate, every request, faults."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from howto100m import tables
from howto100m.clips.subtitles import KINDS, fetch_subtitles
from howto100m.crawl import open_journal
from howto100m.kinds import StageStopped
from howto100m.sample.proxy import Request, Response
from howto100m.sample.render import render
from howto100m.sample.sites import sites
from howto100m.sample.world import World, make_world
from howto100m.shards import Row, read_table, shard_path, status_path, write_table
from howto100m.tasks.select import Rules, mine_tasks
from howto100m.tasks.wikihow import WikiHow
from howto100m.videos.download import download_media
from howto100m.videos.search import search_tasks
from howto100m.videos.select import Limits, select_videos
from howto100m.videos.youtube import Hit, YouTube

LIMITS = Limits(max_rank=200, min_views=100, max_duration=2000)
KEPT = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())["tasks"][
    "categories"
]
Fault = Callable[[Request], Response | None]


@pytest.fixture(scope="module")
def known() -> World:
    return make_world(0, 15)


@pytest.fixture(scope="module")
def world(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    (folder / "media").mkdir()
    for video in known.videos.values():
        if video.media:  # what they show is no matter to most tests
            (folder / "media" / f"{video.video_id}.mp4").write_bytes(b"no video at all")
    known.save(folder / "world.json")
    return folder


@pytest.fixture(scope="module")
def crawled(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables from tasks to subtitles, and the log of requests, without faults."""
    folder = tmp_path_factory.mktemp("crawl")
    with sites(world, log=folder / "requests.jsonl") as door:
        wikihow = WikiHow("test (test@example.org)", 0.0, door.proxy, door.ca)
        mine_tasks(wikihow, folder / "tasks", 1, Rules.of(KEPT))
        search(folder, YouTube(proxy=door.proxy))
        paths = [shard_path(folder / stage, 0) for stage in ("search", "tasks")]
        select_videos(paths[:1], paths[1:], folder / "videos", 1, LIMITS)
        subtitles(folder, YouTube(proxy=door.proxy))
    return folder


def search(folder: Path, youtube: YouTube) -> None:
    paths = (shard_path(folder / "tasks", 0), shard_path(folder / "search", 0))
    search_tasks(*paths, youtube, results=200, max_failed=0.0)


def subtitles(folder: Path, youtube: YouTube, max_failed: float = 0.0) -> None:
    fetch_subtitles(
        shard_path(folder / "videos", 0),
        shard_path(folder / "subtitles", 0),
        youtube,
        kinds=KINDS,
        min_words=100,
        limits=LIMITS,
        max_failed=max_failed,
    )


def fates(folder: Path, stage: str) -> dict[str, str]:
    rows = read_table(status_path(shard_path(folder / stage, 0))).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["kind"] or "" for row in rows}


def requests_of(log: Path) -> list[Row]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_task_has_the_fate_that_its_world_knows(crawled: Path, known: World) -> None:
    expected = {str(p.page_id): p.reason for p in known.pages if not p.redirect}
    assert fates(crawled, "tasks") == expected


def test_every_video_has_the_fate_that_its_world_knows(crawled: Path, known: World) -> None:
    found = fates(crawled, "videos")
    found |= fates(crawled, "subtitles")
    assert found == {video_id: known.videos[video_id].reason for video_id in found}
    assert Counter(found.values())[""] == 15


def test_the_best_track_is_taken_and_its_kind_recorded(crawled: Path, known: World) -> None:
    rows = read_table(shard_path(crawled / "subtitles", 0)).to_pylist()
    assert {row["kind"] for row in rows} == set(KINDS)
    for row in rows:
        tracks = known.videos[row["video_id"]].tracks
        english = [t for t in tracks if t.language.startswith("en")]
        manual = any(not t.asr for t in english)
        assert row["kind"] == ("manual" if manual else "asr" if english else "translated")
        assert row["words"] >= 100


def test_nothing_is_asked_twice_and_nothing_without_need(crawled: Path) -> None:
    asked = requests_of(crawled / "requests.jsonl")
    players = Counter(r["video_id"] for r in asked if r["path"].endswith("/player"))
    tracks = Counter(r["video_id"] for r in asked if r["path"] == "/api/timedtext")
    wanted = read_table(shard_path(crawled / "videos", 0))["video_id"].to_pylist()
    # yt-dlp tries a second client by itself where an age limit is in the way.
    aged = [video_id for video_id, kind in fates(crawled, "subtitles").items() if kind == "age"]
    assert players == Counter([*wanted, *aged])
    assert set(tracks.values()) == {1} and set(tracks) < set(players)
    assert not [r for r in asked if r["path"] in ("/", "/watch")]


def test_a_task_of_200_results_costs_ten_requests(crawled: Path, known: World) -> None:
    asked = requests_of(crawled / "requests.jsonl")
    tasks = len(fates(crawled, "search"))
    pages = sum(max(1, -(-min(len(ids), 200) // 20)) for ids in known.searches.values())
    silent = tasks - len(known.searches)  # the task that nobody made a video for
    assert max(len(ids) for ids in known.searches.values()) > 200
    assert sum(r["path"].endswith("/search") for r in asked) == pages + silent


def test_a_video_that_cannot_qualify_costs_no_request(crawled: Path, known: World) -> None:
    asked = {r["video_id"] for r in requests_of(crawled / "requests.jsonl")} - {""}
    refused = {v for v, kind in fates(crawled, "videos").items() if kind}
    unknown = {v.video_id for v in known.videos.values() if not v.listed and not v.problem}
    assert len(refused) > 100 and not asked & refused
    assert unknown <= asked


@pytest.fixture
def again(crawled: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the crawl whose subtitles are still to be fetched."""
    for stage in ("tasks", "search", "videos"):
        shutil.copytree(crawled / stage, tmp_path / stage)
    yield tmp_path


def bytes_of(folder: Path, stage: str) -> bytes:
    return shard_path(folder / stage, 0).read_bytes()


def after(number: int, path: str, answer: Response) -> Fault:
    """From the n-th request of a path on, the same answer to all."""
    seen = Counter[str]()

    def fault(request: Request) -> Response | None:
        seen[request.path] += 1
        return answer if request.path == path and seen[path] > number else None

    return fault


@pytest.fixture
def anew(crawled: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the crawl whose tasks are still to be searched for."""
    shutil.copytree(crawled / "tasks", tmp_path / "tasks")
    yield tmp_path


def search_requests(log: Path) -> list[Row]:
    return [r for r in requests_of(log) if r["path"].endswith("/search")]


@pytest.mark.parametrize("status", [429, 403, 503])
def test_a_search_that_breaks_on_page_4_goes_on_there(
    world: Path, crawled: Path, anew: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)
    whole = len(search_requests(crawled / "requests.jsonl"))
    busy = after(3, "/youtubei/v1/search", Response(b"<html>Sorry</html>", status=status))
    with sites(world, fault=busy) as door, pytest.raises(StageStopped, match="10 items in a row"):
        search(anew, YouTube(proxy=door.proxy))
    [journal] = anew.rglob("*.journal.jsonl")
    assert b'"outcome": {"id"' in journal.read_bytes()
    log = anew / "requests.jsonl"
    with sites(world, log=log) as door:
        search(anew, YouTube(proxy=door.proxy))
    assert len(search_requests(log)) == whole - 3
    assert bytes_of(anew, "search") == bytes_of(crawled, "search")


@pytest.mark.parametrize("token", ["no token", "WyJob3cgdG8geCIsIDQwXQ=="])
def test_a_token_that_leads_nowhere_starts_the_search_anew(
    world: Path, crawled: Path, anew: Path, token: str
) -> None:
    [task] = [i for i, k in fates(crawled, "search").items() if not k][:1]
    journal = open_journal(shard_path(anew / "search", 0), {"results": 200})
    journal.add_part(task, [asdict(Hit("a" * 11, "", 1, 1.0, "", ""))], token)
    with sites(world) as door:
        search(anew, YouTube(proxy=door.proxy))
    assert bytes_of(anew, "search") == bytes_of(crawled, "search")


def test_what_a_table_knows_is_not_asked_again(world: Path, crawled: Path, anew: Path) -> None:
    shutil.copytree(crawled / "search", anew / "search")
    log = anew / "requests.jsonl"
    with sites(world, log=log) as door:
        search(anew, YouTube(proxy=door.proxy))
        assert not log.exists()
        assert bytes_of(anew, "search") == bytes_of(crawled, "search")
        tasks = read_table(shard_path(anew / "tasks", 0)).to_pylist()
        renamed = next(task for task in tasks if task["visual"])
        renamed["title"] = "Do What Nobody Does"
        write_table(shard_path(anew / "tasks", 0), tasks, tables.TASKS)
        search(anew, YouTube(proxy=door.proxy))
    assert len(search_requests(log)) == 1
    assert fates(anew, "search")[renamed["task_id"]] == "no_results"


def test_what_made_the_stage_stop_is_asked_again(
    world: Path, crawled: Path, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)
    down = Response(b"", status=503)
    with (
        sites(world, fault=after(3, "/api/timedtext", down)) as door,
        pytest.raises(StageStopped, match="10 items in a row failed"),
    ):
        subtitles(again, YouTube(proxy=door.proxy), max_failed=0.9)
    with sites(world) as door:
        subtitles(again, YouTube(proxy=door.proxy))
    assert bytes_of(again, "subtitles") == bytes_of(crawled, "subtitles")


BOT = {
    "playabilityStatus": {
        "status": "LOGIN_REQUIRED",
        "reason": "Sign in to confirm you’re not a bot",
    }
}


def test_a_bot_check_stops_the_stage_and_the_next_run_goes_on(
    world: Path, crawled: Path, again: Path
) -> None:
    body = Response(json.dumps(BOT).encode(), "application/json")
    with (
        sites(world, fault=after(5, "/youtubei/v1/player", body)) as door,
        pytest.raises(StageStopped, match="bot_check"),
    ):
        subtitles(again, YouTube(proxy=door.proxy))
    assert not shard_path(again / "subtitles", 0).exists()
    with sites(world, log=again / "requests.jsonl") as door:
        subtitles(again, YouTube(proxy=door.proxy))
    players = [r for r in requests_of(again / "requests.jsonl") if r["path"].endswith("/player")]
    assert len({r["video_id"] for r in players}) == len(fates(again, "subtitles")) - 5
    assert bytes_of(again, "subtitles") == bytes_of(crawled, "subtitles")
    assert not list(again.rglob("*.journal.jsonl"))


def test_a_throttled_track_is_no_missing_track(
    world: Path, crawled: Path, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("howto100m.shards.time.sleep", pauses.append)
    busy = Response(b"<html>Sorry</html>", status=429)
    with sites(world, fault=after(3, "/api/timedtext", busy)) as door:
        subtitles(again, YouTube(proxy=door.proxy), max_failed=1.0)
    undisturbed = fates(crawled, "subtitles")
    changed = {v: k for v, k in fates(again, "subtitles").items() if k != undisturbed[v]}
    tracks = [v for v, kind in undisturbed.items() if kind in ("", "too_few_words")]
    assert changed == dict.fromkeys(tracks[3:], "throttled")
    assert pauses == [300.0, 600.0] * len(changed)


def test_an_empty_track_is_worth_another_try(
    world: Path, crawled: Path, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)
    seen = Counter[str]()

    def empty_once(request: Request) -> Response | None:
        if request.path != "/api/timedtext":
            return None
        seen[request.query["v"]] += 1
        return Response(b"") if seen[request.query["v"]] == 1 else None

    with sites(world, fault=empty_once) as door:
        subtitles(again, YouTube(proxy=door.proxy))
    assert bytes_of(again, "subtitles") == bytes_of(crawled, "subtitles")


def test_a_player_answer_that_says_nothing_is_worth_another_try(
    world: Path, crawled: Path, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)
    seen = Counter[str]()

    def bare_once(request: Request) -> Response | None:
        if request.path != "/youtubei/v1/player":
            return None
        video = request.json()["videoId"]
        seen[video] += 1
        return Response(b"{}", "application/json") if seen[video] == 1 else None

    with sites(world, fault=bare_once) as door:
        subtitles(again, YouTube(proxy=door.proxy))
    assert bytes_of(again, "subtitles") == bytes_of(crawled, "subtitles")
    assert min(seen.values()) == 2


FORMATS = {160: 144, 133: 240, 134: 360, 135: 480, 136: 720}


@pytest.mark.parametrize(
    ("height", "shown", "itag"),
    [(360, FORMATS, 134), (300, FORMATS, 133), (720, FORMATS, 136), (360, {135: 480}, 135)],
)
def test_the_stream_is_the_height_asked_for_or_the_nearest_below(
    world: Path, known: World, tmp_path: Path, height: int, shown: dict[int, int], itag: int
) -> None:
    name = next(v.video_id for v in known.videos.values() if not v.reason)
    asked: list[str] = []

    def answer(request: Request) -> Response | None:
        if request.path == "/videoplayback":
            asked.append(request.query["itag"])
            return Response(b"x" * 10, "video/mp4")
        if not request.path.endswith("/player"):
            return None
        sound = {"itag": 140, "mimeType": 'audio/mp4; codecs="mp4a.40.2"', "bitrate": 128000}
        pictures = [
            {"itag": number, "mimeType": 'video/mp4; codecs="avc1.4d401e"', "bitrate": lines * 1000}
            | {"height": lines, "width": lines * 16 // 9, "qualityLabel": f"{lines}p", "fps": 25}
            for number, lines in shown.items()
        ]
        url = "https://rr1---sn-sample.googlevideo.com/videoplayback?itag={}"
        formats = [f | {"url": url.format(f["itag"])} for f in (*pictures, sound)]
        details = {"videoId": name, "title": "Title", "lengthSeconds": "10", "viewCount": "1000"}
        body = {"playabilityStatus": {"status": "OK"}, "videoDetails": details}
        body |= {"streamingData": {"adaptiveFormats": formats}}
        return Response(json.dumps(body).encode(), "application/json")

    with sites(world, fault=answer) as door:
        path = YouTube(proxy=door.proxy).download(name, tmp_path, height)
    assert asked == [str(itag)] and path == tmp_path / f"{name}.mp4"


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "a\nb\x00c\u2028d", "\ud800half", "%(id)s %s {x}", "t" * 100_000]
)
def test_a_hostile_title_is_text_and_nothing_else(
    world: Path, known: World, anew: Path, title: str
) -> None:
    result = {"videoId": "aaaaaaaaaaa", "title": {"runs": [{"text": title}]}}
    result |= {"lengthText": {"simpleText": "1:00"}, "viewCountText": {"simpleText": "500 views"}}
    evil = result | {"videoId": "../../../../x"}
    items = [{"itemSectionRenderer": {"contents": [{"videoRenderer": r} for r in (evil, result)]}}]
    column = {"primaryContents": {"sectionListRenderer": {"contents": items}}}
    body = json.dumps({"contents": {"twoColumnSearchResultsRenderer": column}}).encode()
    page = Response(body, "application/json")
    with sites(world, fault=after(0, "/youtubei/v1/search", page)) as door:
        search(anew, YouTube(proxy=door.proxy))
    rows = read_table(shard_path(anew / "search", 0)).to_pylist()
    assert rows and {row["video_id"] for row in rows} == {"aaaaaaaaaaa"}
    assert all(len(row["title"]) <= 1000 and row["title"].isprintable() for row in rows)


def test_media_that_break_off_do_not_count(
    crawled: Path, known: World, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howto100m.shards.time.sleep", lambda _: None)
    ids = read_table(shard_path(crawled / "subtitles", 0))["video_id"].to_pylist()
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    whole, half, *_ = ids
    for video_id in (whole, half):
        render(known.videos[video_id], folder / "media" / f"{video_id}.mp4")
    cut = (folder / "media" / f"{half}.mp4").read_bytes()
    (folder / "media" / f"{half}.mp4").write_bytes(cut[: len(cut) // 2])
    output = shard_path(tmp_path / "media", 0)
    with sites(folder) as door:
        youtube = YouTube(proxy=door.proxy)
        paths = (shard_path(crawled / "subtitles", 0), output)
        download_media(*paths, tmp_path / "store", youtube, height=360, max_failed=1.0)
    rows = read_table(output).to_pylist()
    assert [row["video_id"] for row in rows] == [whole]
    assert Path(rows[0]["path"]).stat().st_size == rows[0]["bytes"]
    assert set(fates(tmp_path, "media").values()) == {"", "network"}
    assert [p.name for p in (tmp_path / "store").iterdir()] == [f"{whole}.mp4"]
