"""Pace: queues that processes share, a gate that closes for all, an end to every wait."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from howto100m.kinds import Fate, ItemError, Kind, UserError
from howto100m.sample.proxy import Request, Response
from howto100m.sample.sites import Door, sites
from howto100m.sample.world import World, make_world
from howto100m.videos.options import options_of
from howto100m.videos.pace import Ask, Gate, Pace
from howto100m.videos.youtube import Track, YouTube

WAIT = """
import json, sys, time
from howto100m.videos.pace import Ask, Gate, Pace
gate = Gate(Pace(player=36000, folder=sys.argv[1]), {})
for _ in range(int(sys.argv[2])):
    gate.wait(Ask.PLAYER)
    print(time.time(), flush=True)
"""


def waiter(folder: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WAIT, str(folder), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_a_queue_fairly_and_one_that_is_killed_holds_nobody_up(
    tmp_path: Path,
) -> None:
    waiters = [waiter(tmp_path, number) for number in (10, 10, 1000)]
    killed = waiters.pop()
    assert killed.stdout is not None
    first = float(killed.stdout.readline())
    killed.kill()
    killed.wait()
    times = [[float(line) for line in w.communicate()[0].splitlines()] for w in waiters]
    assert [len(found) for found in times] == [10, 10]
    together = sorted([first, *times[0], *times[1]])
    # A tenth of a second each, whoever asks; a sleeper may be late, the queue is not.
    assert together[-1] - together[0] > 0.1 * (len(together) - 1) - 0.1
    assert killed.stdout.close() is None


def test_kinds_have_queues_of_their_own_and_0_is_no_limit(tmp_path: Path) -> None:
    gate = Gate(Pace(search=1, player=1, media=0, folder=str(tmp_path)), {})
    started = time.monotonic()
    gate.wait(Ask.SEARCH)
    gate.wait(Ask.PLAYER)
    for _ in range(100):
        gate.wait(Ask.MEDIA)
    assert time.monotonic() - started < 1
    [queues] = tmp_path.iterdir()
    assert {path.name for path in queues.iterdir()} == {"search", "player"}


def test_a_clock_that_was_set_back_holds_nobody_up_for_days(tmp_path: Path) -> None:
    gate = Gate(Pace(search=3600, folder=str(tmp_path)), {})
    gate.wait(Ask.SEARCH)
    [queue] = tmp_path.rglob("search")
    queue.write_text(f"{time.time() + 3 * 86400:017.6f}")
    started = time.monotonic()
    gate.wait(Ask.SEARCH)
    assert time.monotonic() - started < 0.5


def test_a_closed_gate_is_closed_for_all_of_a_visitor_until_its_time_is_over(
    tmp_path: Path,
) -> None:
    pace = Pace(folder=str(tmp_path), player=0, closed=0.6)
    Gate(pace, {}).close(ItemError(Kind.BOT_CHECK, "not a bot"))
    with pytest.raises(ItemError, match=r"not a bot \(nothing is asked before .* delete") as found:
        Gate(pace, {}).wait(Ask.PLAYER)
    assert found.value.kind is Kind.BOT_CHECK
    Gate(pace, {"cookiefile": "cookies.txt"}).wait(Ask.PLAYER)
    Gate(pace, {"proxy": "http://127.0.0.1:9"}).wait(Ask.PLAYER)
    time.sleep(0.6)
    Gate(pace, {}).wait(Ask.PLAYER)


def test_a_pace_that_is_none_is_one_line() -> None:
    with pytest.raises(UserError, match="it takes search, player, timedtext, media, tries"):
        Pace.of('{"serch": 3}')
    assert Pace.of('{"player": 9}').player == 9


def test_the_default_stays_below_the_rates_of_a_guest() -> None:
    pace = Pace()
    assert pace.player <= 300 and pace.timedtext <= 300
    assert pace.search + pace.player <= 1000


@pytest.mark.parametrize(
    ("url", "ask"),
    [
        ("https://www.youtube.com/youtubei/v1/search?prettyPrint=false", Ask.SEARCH),
        ("https://www.youtube.com/youtubei/v1/player?prettyPrint=false", Ask.PLAYER),
        ("https://www.youtube.com/watch?v=aaaaaaaaaaa", Ask.PLAYER),
        ("https://www.youtube.com/api/timedtext?v=aaaaaaaaaaa", Ask.TIMEDTEXT),
        ("https://rr1---sn-sample.googlevideo.com/videoplayback?id=1", Ask.MEDIA),
    ],
)
def test_requests_are_told_apart(url: str, ask: Ask) -> None:
    assert Ask.of(url) is ask


def test_options_pass_through_and_a_name_that_yt_dlp_does_not_know_is_one_line() -> None:
    assert options_of({"proxy": "socks5://127.0.0.1:1"})["proxy"] == "socks5://127.0.0.1:1"
    args = options_of({"extractor_args": {"youtube": {"player_client": "default"}}})
    assert args["extractor_args"]["youtube"] == {"player_client": ["default"]}
    assert args["extractor_args"]["youtubetab"] == {"skip": ["webpage"]}
    assert str(options_of({"impersonate": "chrome"})["impersonate"]) == "chrome"
    with pytest.raises(UserError, match=r"youtube.cookies is no option .*cookiefile"):
        options_of({"cookies": "x"})
    with pytest.raises(UserError, match=r"nowhere\.txt is no file"):
        options_of({"cookiefile": "nowhere.txt"})


def test_deno_comes_with_the_environment() -> None:
    path = options_of({})["js_runtimes"]["deno"]["path"]
    run = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("deno 2")


@pytest.fixture(scope="module")
def known() -> World:
    return make_world(0, 15)


@pytest.fixture(scope="module")
def folder(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    (path / "media").mkdir()
    for video in known.videos.values():
        if video.media:
            (path / "media" / f"{video.video_id}.mp4").write_bytes(b"no video" * 1000)
    known.save(path / "world.json")
    return path


class Trouble:
    """A stand-in whose next answers are as told, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Response | None]] = {}
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Response | None:
        self.asked[request.path] += 1
        answer = self.answers.get(request.path)
        return answer() if answer else None


@pytest.fixture
def trouble(folder: Path) -> Iterator[tuple[Trouble, Door]]:
    found = Trouble()
    with sites(folder, fault=found) as door:
        yield found, door


def hang() -> Response:
    time.sleep(8)
    return Response(b"too late")


def trickle() -> Response:
    return Response(b"WEBVTT and so on" * 100, trickle=0.05)


@pytest.mark.parametrize("answer", [hang, trickle])
@pytest.mark.parametrize("path", ["/youtubei/v1/search", "/youtubei/v1/player", "/api/timedtext"])
def test_an_answer_that_does_not_come_costs_its_time_and_not_the_job(
    trouble: tuple[Trouble, Door], known: World, answer: Callable[[], Response], path: str
) -> None:
    found, door = trouble
    options = {"socket_timeout": 0.7, "extractor_retries": 0}
    youtube = YouTube(options, door.proxy)
    youtube.pace = youtube._site._pace = Pace(answer_timeout=1.5)
    good = next(v for v in known.videos.values() if not v.reason)
    [track, *_] = youtube.player(good.video_id).tracks
    found.answers[path] = answer
    started = time.monotonic()
    work: dict[str, Callable[[], Any]] = {
        "/youtubei/v1/search": lambda: list(youtube.search("how to tie a tie", 20)),
        "/youtubei/v1/player": lambda: youtube.player(good.video_id),
        "/api/timedtext": lambda: youtube.subtitles(track),
    }
    with pytest.raises(ItemError) as error:
        work[path]()
    assert error.value.kind in (Kind.TIMEOUT, Kind.NETWORK)
    assert time.monotonic() - started < 4
    found.answers.clear()
    assert youtube.player(good.video_id).tracks


@pytest.mark.parametrize("answer", [hang, trickle])
def test_media_that_do_not_come_cost_their_time_and_not_the_job(
    trouble: tuple[Trouble, Door], known: World, answer: Callable[[], Response], tmp_path: Path
) -> None:
    found, door = trouble
    options = {"socket_timeout": 0.7, "retries": 0, "extractor_retries": 0}
    youtube = YouTube(options, door.proxy)
    youtube.pace = Pace(media_timeout=1.5)
    good = next(v for v in known.videos.values() if not v.reason)
    found.answers["/videoplayback"] = answer
    started = time.monotonic()
    with pytest.raises(ItemError) as error:
        youtube.download(good.video_id, tmp_path, 360)
    assert error.value.kind.fate is Fate.RETRY and error.value.kind is not Kind.BUG
    assert time.monotonic() - started < 5


def test_a_bot_check_closes_the_gate_and_says_what_to_do(
    trouble: tuple[Trouble, Door], known: World, tmp_path: Path
) -> None:
    found, door = trouble
    status = {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you’re not a bot"}
    body = json.dumps({"playabilityStatus": status}).encode()
    found.answers["/youtubei/v1/player"] = lambda: Response(body, "application/json")
    pace = Pace(player=0, search=0, folder=str(tmp_path))
    good = next(v for v in known.videos.values() if not v.reason)
    with pytest.raises(ItemError, match=r"give cookies .* or go on from another"):
        YouTube(proxy=door.proxy, pace=pace).player(good.video_id)
    asked = found.asked.total()
    with pytest.raises(ItemError, match="nothing is asked before"):
        YouTube(proxy=door.proxy, pace=pace).player(good.video_id)
    with pytest.raises(ItemError, match="nothing is asked before"):
        list(YouTube(proxy=door.proxy, pace=pace).search("how to tie a tie", 20))
    assert found.asked.total() == asked


@pytest.mark.parametrize("name", ["../../../../x", "aaaaaaaaaa/", "a" * 12, "aaaaaaaaaaa\n", ""])
def test_what_is_no_id_reaches_neither_the_site_nor_a_path(
    trouble: tuple[Trouble, Door], name: str, tmp_path: Path
) -> None:
    found, door = trouble
    youtube = YouTube(proxy=door.proxy)
    with pytest.raises(ItemError, match="no id of a video"):
        youtube.player(name)
    with pytest.raises(ItemError, match="no id of a video"):
        youtube.download(name, tmp_path, 360)
    assert not found.asked and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Kind.NETWORK),
        (b" \r\n", Kind.NETWORK),
        (b"<!DOCTYPE html><html><title>YouTube</title>", Kind.NETWORK),
        (b"<html><title>Sorry...</title>our systems have detected unusual traffic", Kind.THROTTLED),
        (b'<?xml version="1.0"?><transcript/>', Kind.NETWORK),
        (b'{"events": []}', Kind.MALFORMED),
        (b"\xef\xbb\xbfWEBVTT\n\n", None),
    ],
)
def test_what_is_no_webvtt_is_told_apart(
    trouble: tuple[Trouble, Door], body: bytes, kind: Kind | None
) -> None:
    found, door = trouble
    found.answers["/api/timedtext"] = lambda: Response(body)
    youtube = YouTube(proxy=door.proxy)
    track = Track("en", "asr", "https://www.youtube.com/api/timedtext?v=aaaaaaaaaaa&fmt=vtt")
    if kind is None:
        assert youtube.subtitles(track).endswith("WEBVTT\n\n")
        return
    with pytest.raises(ItemError) as error:
        youtube.subtitles(track)
    assert error.value.kind is kind
