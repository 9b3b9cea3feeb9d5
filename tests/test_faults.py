"""A world of faults, and kills: every item accounted for, and the tables of an undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from howto100m import tables
from howto100m.kinds import Fate, Kind
from howto100m.retry import failures
from howto100m.sample import narration
from howto100m.sample.proxy import Request, Response
from howto100m.sample.records import Problem, Step, Track, Video
from howto100m.sample.render import render
from howto100m.sample.sites import Door, sites
from howto100m.sample.world import World, video_id
from howto100m.shards import (
    Row,
    read_table,
    shard_of,
    shard_path,
    shard_paths,
    status_path,
    write_table,
)

SEED = 7
VIDEOS, TASKS, SHARDS = 320, 20, 2
SECONDS = 3
PROBLEMS: tuple[Problem, ...] = (
    "private",
    "members",
    "age",
    "geo",
    "live",
    "upcoming",
    "removed",
    "paid",
    "dubbed",
)
PLAYER, SEARCH, TIMEDTEXT, MEDIA = (
    "/youtubei/v1/player",
    "/youtubei/v1/search",
    "/api/timedtext",
    "/videoplayback",
)
HANG = 6.0
OPTIONS: dict[str, int] = {"socket_timeout": 4, "extractor_retries": 1, "retries": 1}
PACE = {"search": 0, "player": 0, "timedtext": 0, "media": 0}
PACE |= {"pause": 0.01, "long_pause": 0.02, "closed": 0.3}
BOT = "Sign in to confirm you’re not a bot"
LIMITED = (
    "This content isn't available, try again later. The current session has been rate-limited by"
    " YouTube for up to an hour."
)

# A minute on two idle cores; a machine that is busy with other things takes much longer.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1500)]


def make_videos(rng: Random) -> Iterator[Video]:
    talk = narration.chat(rng, SECONDS, 30)
    for number in range(VIDEOS):
        chance = rng.random()
        video = Video(
            video_id(SEED, str(number)),
            f"Video {number}",
            f"Channel {number % 9}",
            views=rng.choice((50, 5000, 5000, 5000, 5000)),
            seconds=SECONDS,
            listed=chance > 0.1,
            width=64,
            height=48,
            steps=(Step(0, SECONDS, "grey"),),
            tracks=(Track("en", chance < 0.7, talk),),
        )
        if number % 10 == 0:
            video = replace(video, problem=PROBLEMS[number // 10 % len(PROBLEMS)])
        if number % 17 == 0:
            video = replace(video, tracks=(Track("es", False, talk),))
        yield video


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that share one file; the tasks find some of them, and some of them several times."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "media").mkdir()
    rng = Random(SEED)
    videos = {video.video_id: video for video in make_videos(rng)}
    first, *others = videos
    render(videos[first], folder / "media" / f"{first}.mp4")
    for name in others:
        os.link(folder / "media" / f"{first}.mp4", folder / "media" / f"{name}.mp4")
    names = list(videos)
    rows = []
    searches = {}
    for task in range(TASKS):
        found = names[task::TASKS] + rng.sample(names, 30)
        searches[f"how to make thing {task}"] = tuple(found)
        rows.append(
            {"task_id": str(task), "title": f"Make Thing {task}", "visual": True}
            | {"category_1": "Food", "category_2": "", "verb": "make", "reason": ""}
        )
    World(SEED, {}, (), videos, searches).save(folder / "world.json")
    for shard in range(SHARDS):
        mine = [row for row in rows if shard_of(row["task_id"], SHARDS) == shard]
        write_table(shard_path(folder / "tasks", shard), mine, tables.TASKS)
    return folder


class Faults:
    """What the seed has in store for each request, and for the processes that make them.

    An item meets the same faults in the same order, whenever and by whom it is asked for. Kills and
    stops come at random among the first so many requests.
    """

    def __init__(self, share: float = 0.0, kills: int = 0, stops: int = 0, requests: int = 1):
        self.share = share
        self.rng = Random(SEED)
        self.kills = sorted(self.rng.sample(range(requests // 9, requests), kills))
        self.stops = sorted(self.rng.sample(range(requests // 9, requests), stops))
        self.alive: list[subprocess.Popen[bytes]] = []
        self.killed = self.stopped = 0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.good: Counter[tuple[str, str]] = Counter()
        self.met: Counter[str] = Counter()
        self.until = 0.0
        self.reason = ""
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Response | None:
        item = self._item(request)
        with self.lock:
            self.asked[request.path, item] += 1
            turn = self.asked[request.path, item]
            total = sum(self.asked.values())
            if self.kills and total >= self.kills[0]:
                self.kills.pop(0)
                self._kill()
            if self.stops and total >= self.stops[0] and request.path in (PLAYER, SEARCH):
                self.stops.pop(0)
                self.until, self.reason = time.monotonic() + 0.3, self.rng.choice((BOT, LIMITED))
        if time.monotonic() < self.until and request.path == PLAYER:
            self.met["stop"] += 1
            status = {"status": "LOGIN_REQUIRED", "reason": self.reason}
            return _json({"playabilityStatus": status})
        rng = Random(f"{SEED} {request.path} {item} {turn}")
        if rng.random() >= self.share / turn:
            with self.lock:
                self.good[request.path, item] += 1
            return None
        name = "hang" if rng.random() < HANGS else rng.choice(FAULTS[request.path])
        self.met[name] += 1
        return ANSWERS[name](request)

    def _item(self, request: Request) -> str:
        if request.path == PLAYER:
            return str(request.json().get("videoId"))
        if request.path == SEARCH:
            asked = request.json()
            return f"{asked.get('query')} {asked.get('continuation')}"
        return request.query.get("v") or request.query.get("id") or ""

    def _kill(self) -> None:
        running = [process for process in self.alive if process.poll() is None]
        if running:
            self.rng.choice(running).send_signal(signal.SIGKILL)
            self.killed += 1


def _json(content: object) -> Response:
    return Response(json.dumps(content).encode(), "application/json")


def _hang(_: Request) -> Response:
    time.sleep(HANG)
    return Response(status=504)


def _short(request: Request) -> Response:
    """The first half of a file as if it were the whole: what a careless cache gives."""
    body = bytes(700)
    return Response(body, "video/mp4", 206, {"Content-Range": f"bytes 0-{len(body) - 1}/700"})


ANSWERS: dict[str, Callable[[Request], Response]] = {
    "429": lambda _: Response(b"<html>Too many</html>", status=429),
    "503": lambda _: Response(status=503),
    "403": lambda _: Response(status=403),
    "drop": lambda _: Response(b"WEBVTT\n\n" * 100, cut=True),
    "hang": _hang,
    "empty": lambda _: Response(b""),
    "page": lambda _: Response(b"<!DOCTYPE html><html><title>Before you continue</title></html>"),
    "truncated": _short,
}
COMMON = ("429", "503", "403", "drop")
HANGS = 0.03
"""Share of the faults that hang: each costs its time-out."""
FAULTS = {
    SEARCH: COMMON,
    PLAYER: COMMON,
    TIMEDTEXT: (*COMMON, "empty", "page"),
    MEDIA: (*COMMON, "truncated", "truncated"),
}


class Line:
    """The crawling stages as processes: started side by side, again until their tables stand."""

    def __init__(self, results: Path, door: Door, faults: Faults):
        self.results, self.faults = results, faults
        self.exits: Counter[int] = Counter()
        options = OPTIONS | {"proxy": door.proxy, "nocheckcertificate": True}
        pace = PACE | {"folder": str(results / "pace")}
        self.environment = os.environ | {
            "HOWTO100M_YT_DLP": json.dumps(options),
            "HOWTO100M_PACE": json.dumps(pace),
            "HOWTO100M_MAX_FAILED": "0.9",
        }

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "howto100m", *map(str, arguments)]
        with (self.results / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def crawl(self, stage: str) -> None:
        """Run a stage's shards at the same time; what was killed or stopped is started again."""
        source = {"search": "tasks", "subtitles": "videos", "media": "subtitles"}
        given = self.results / source[stage]
        flag = {"search": "--tasks", "subtitles": "--videos", "media": "--subtitles"}[stage]
        outputs = {n: shard_path(self.results / stage, n) for n in range(SHARDS)}
        for _ in range(40):
            left = {n: output for n, output in outputs.items() if not _done(output)}
            if not left:
                return
            self.faults.alive = [
                self.start(
                    stage,
                    flag,
                    shard_path(given, number),
                    "--output",
                    output,
                    *(p.format(store=self.results / "store", shard=number) for p in STAGES[stage]),
                )
                for number, output in left.items()
            ]
            self.exits.update(process.wait() for process in self.faults.alive)
        raise AssertionError(f"{stage} does not end: {self.exits}")

    def retry(self, stage: str) -> None:
        """Ask again until nothing is left that is worth it."""
        for _ in range(20):
            if not any(failures(table) for table in shard_paths(self.results / stage)):
                return
            command = ("retry", "--results", self.results, "--store", self.results / "store")
            self.faults.alive = [self.start(*command, "--stage", stage)]
            self.exits.update(process.wait() for process in self.faults.alive)
        raise AssertionError(f"{stage} stays broken")

    def select(self) -> None:
        arguments = ("--search", self.results / "search", "--tasks", self.results / "tasks")
        output = ("--output", self.results / "videos", "--shards", SHARDS)
        assert self.start("videos", *arguments, *output).wait() == 0


def _done(table: Path) -> bool:
    journal = table.with_suffix(".journal.jsonl")
    return table.exists() and status_path(table).exists() and not journal.exists()


STAGES: dict[str, tuple[str, ...]] = {
    "search": ("--results", "200"),
    "subtitles": ("--min-words", "20"),
    "media": ("--store", "{store}/{shard:05d}"),
}


def build(
    world: Path,
    results: Path,
    faults: Callable[[str], Faults],
    stages: Sequence[str] = tuple(STAGES),
) -> dict[str, tuple[Line, Faults]]:
    """The crawl, a stage after the other; returns what each stage met."""
    shutil.copytree(world / "tasks", results / "tasks")
    found = {}
    for stage in stages:
        met = faults(stage)
        with sites(world, fault=met) as door:
            line = Line(results, door, met)
            line.crawl(stage)
            for table in shard_paths(results / stage):
                check_accounts(table)
            line.retry(stage)
            if stage == "search":
                line.select()
        found[stage] = (line, met)
    return found


def check_accounts(table: Path) -> None:
    """Each item once, ok ones with rows, others without; what failed is worth another try."""
    rows, status = read_table(table).to_pylist(), read_table(status_path(table)).to_pylist()
    item = next(iter(rows[0]))
    outcomes = {row["id"]: row["kind"] for row in status}
    assert len(outcomes) == len(status)
    assert {row[item] for row in rows} == {name for name, kind in outcomes.items() if not kind}
    keys = [(row[item], row.get("rank", 0)) for row in rows]
    assert len(set(keys)) == len(keys)
    failed = {row["kind"] for row in status if row["status"] == "failed"}
    assert all(Kind(kind).fate is Fate.RETRY and kind != "bug" for kind in failed), failed


def facts(table: Path) -> list[Row]:
    return [
        {key: value for key, value in row.items() if key != "path"}
        for row in read_table(table).to_pylist()
    ]


def fates(table: Path) -> list[tuple[str, str | None, str]]:
    rows = read_table(status_path(table)).to_pylist()
    return [(row["id"], row["kind"], row["message"]) for row in rows]


@pytest.fixture(scope="module")
def quiet(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a run that nothing disturbs."""
    results = tmp_path_factory.mktemp("undisturbed") / "quiet"
    build(world, results, lambda _: Faults())
    return results


def test_a_world_of_faults_and_kills_ends_in_the_tables_of_a_quiet_one(
    world: Path, quiet: Path, tmp_path: Path
) -> None:
    rough = tmp_path / "rough"
    met = build(world, rough, lambda stage: Faults(0.3, 3, 2, 54 if stage == "search" else 250))

    for stage in ("search", "videos", "subtitles", "media"):
        for one, other in zip(shard_paths(quiet / stage), shard_paths(rough / stage), strict=True):
            assert fates(one) == fates(other), stage
            assert facts(one) == facts(other), stage
            if stage != "media":
                assert one.read_bytes() == other.read_bytes(), stage
    found = [row["video_id"] for t in shard_paths(rough / "media") for row in facts(t)]
    assert len(found) == len(set(found)) > 150
    scraps = [p for p in rough.rglob("*") if ".part" in p.name or p.name.endswith(".jsonl")]
    assert scraps == []

    kinds = {
        kind
        for s in ("videos", "subtitles")
        for t in shard_paths(rough / s)
        for _, kind, _ in fates(t)
    }
    assert kinds >= {"private", "members", "age", "geo", "live", "gone", "paid"}
    assert kinds >= {"no_subtitles", "too_few_views", None}
    seen: Counter[str] = sum((faults.met for _, faults in met.values()), Counter[str]())
    assert set(seen) >= set(ANSWERS) | {"stop"}
    for stage, (line, faults) in met.items():
        assert faults.killed >= 2, stage
        assert 1 <= line.exits[-signal.SIGKILL] <= faults.killed, stage
        # A stage that has to stop ends with 3; a bot check comes with player answers.
        assert line.exits[3] >= (stage != "search"), stage


def test_a_kill_costs_at_most_the_item_in_flight(
    world: Path, quiet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIONS, "socket_timeout", 30)
    killed = tmp_path / "killed"
    stages = ("search", "subtitles")
    # yt-dlp tries a second client by itself where an age limit is in the way.
    aged = sum(kind == "age" for t in shard_paths(quiet / "subtitles") for _, kind, _ in fates(t))
    met = build(
        world,
        killed,
        lambda stage: Faults(kills=3, requests=54 if stage == "search" else 250),
        stages,
    )
    for stage in stages:
        for one, other in zip(shard_paths(quiet / stage), shard_paths(killed / stage), strict=True):
            assert one.read_bytes() == other.read_bytes()
        _, faults = met[stage]
        assert faults.killed >= 2
        twice: Counter[str] = Counter()
        for (path, _), times in faults.good.items():
            twice[path] += times - 1
        # A page of a search is in the journal once the next one was answered.
        assert twice[SEARCH] <= 2 * faults.killed
        assert twice[PLAYER] <= faults.killed + aged
        assert twice[TIMEDTEXT] <= faults.killed
