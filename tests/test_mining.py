"""Mining against the stand-in of WikiHow: several thousand pages, faults, kills, refusals."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from requests import certs

from howto100m.kinds import StageStopped, UserError
from howto100m.sample.proxy import Request, Response, json_response
from howto100m.sample.records import Page
from howto100m.sample.sites import Door, sites
from howto100m.sample.wikihow_site import REAL_ROWS
from howto100m.sample.world import World, make_world
from howto100m.shards import Row, read_table, shard_path, status_path
from howto100m.tasks.polite import retry_after
from howto100m.tasks.select import JOURNAL, Rules, mine_tasks
from howto100m.tasks.wikihow import WikiHow
from howto100m.videos.search import query_of

ROOT = Path(__file__).parents[1]
KEPT = yaml.safe_load((ROOT / "config.yaml").read_text())["tasks"]["categories"]
SHARDS = 3
HOSTILE = (
    "Make a\nNew\r\nLine",
    "Fold\tTabs",
    "Paint \"Quotes\" and 'Quotes'",
    "../../../etc/passwd",
    "Bake <script>alert(1)</script> &amp; <b>Bread</b>",
    "Knit 🧶 for a 👩‍🍳",
    "Cut " + 10_000 * "x",
    "Build $(touch pwned); `touch pwned` | {input} %s",
    "Sew a Null\0Byte",
    "Weld Half a Pair \ud83d",
    "Übe Größe‮ reversed",
    "-rf --output=/",
)
Fault = Callable[[Request], Response | None]


def make_pages(known: World, number: int) -> tuple[Page, ...]:
    """Articles in many categories, a redirect among ten, and the hostile titles."""
    names = list(known.parents)
    pages = [
        Page(
            10 + (n * 7919) % number,  # the order of ids is not that of titles
            f"Make Thing {n:05d}",
            tuple(sorted({names[(n * k) % len(names)] for k in range(1, 2 + n % 5)})),
            redirect=n % 10 == 0,
        )
        for n in range(number)
    ]
    pages += [Page(9_000_000 + n, title, (names[n],)) for n, title in enumerate(HOSTILE)]
    return tuple(pages)


def save(known: World, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    known.save(folder / "world.json")
    return folder


@pytest.fixture(scope="module")
def known() -> World:
    world = make_world(0, 15)
    return replace(world, pages=make_pages(world, 6007))


@pytest.fixture(scope="module")
def world(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(known, tmp_path_factory.mktemp("wikihow"))


@pytest.fixture(scope="module")
def small(known: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of a few pages, for what happens at the first request."""
    return save(replace(known, pages=known.pages[-20:]), tmp_path_factory.mktemp("small"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses made, in seconds; none of them takes any time."""
    made: list[float] = []
    monkeypatch.setattr("time.sleep", lambda seconds: made.append(seconds) if seconds else None)
    return made


def mine(
    world: Path, output: Path, fault: Fault | None = None, delay: float = 0.0, rows: int = REAL_ROWS
) -> list[Row]:
    """Mine a world into `output/tasks`; return the requests of this run."""
    log = output / f"requests-{len(list(output.glob('requests-*')))}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    with sites(world, log, fault, rows) as door:
        mine_tasks(visitor(door, delay), output / "tasks", SHARDS, Rules.of(KEPT))
    return asked(log)


def visitor(door: Door, delay: float = 0.0) -> WikiHow:
    return WikiHow("our-lab/1.0 (us@our-lab.org)", delay, door.proxy, door.ca)


def asked(log: Path) -> list[Row]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def answered(log: list[Row]) -> Counter[tuple[str, str]]:
    """How often the site answered for each batch, by where the batch starts."""
    return Counter(
        (r["query"].get("gapcontinue", ""), r["query"].get("clcontinue", ""))
        for r in log
        if r["what"] == "allpages"
    )


def contents(output: Path) -> list[bytes]:
    return [
        path.read_bytes()
        for shard in range(SHARDS)
        for path in (
            shard_path(output / "tasks", shard),
            status_path(shard_path(output / "tasks", shard)),
        )
    ]


def rows_of(output: Path) -> dict[str, Row]:
    tables = (read_table(shard_path(output / "tasks", shard)) for shard in range(SHARDS))
    return {row["task_id"]: row for table in tables for row in table.to_pylist()}


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    mine(world, output)
    return output


def test_every_article_comes_with_the_two_upper_levels_of_its_categories(
    undisturbed: Path, known: World
) -> None:
    rows = rows_of(undisturbed)
    articles = {str(page.page_id): page for page in known.pages if not page.redirect}
    assert len(articles) > 5000 and set(rows) == set(articles)

    def path(name: str) -> list[str]:
        return [*path(known.parents[name]), name] if name else []

    for task_id, page in articles.items():
        paths = [tuple([*path(name), ""][:2]) for name in page.categories]
        found = (rows[task_id]["category_1"], rows[task_id]["category_2"])
        assert found in paths
        assert found[0] in KEPT or not any(first in KEPT for first, _ in paths)


def test_the_site_is_asked_for_each_batch_once(undisturbed: Path) -> None:
    log = asked(undisturbed / "requests-0.jsonl")
    batches = answered(log)
    assert set(batches.values()) == {1}
    assert len({start for start, _ in batches}) == 11  # of 500 articles, the last of fewer
    assert len({start for start, split in batches if split}) > 5  # whose categories are many
    assert [r["what"] for r in log[:2]] == ["robots", "revisions"]
    assert len(log) == 2 + len(batches)
    assert {r["query"]["maxlag"] for r in log[1:]} == {"5"}
    assert {r["query"]["gaplimit"] for r in log[2:]} == {"max"}
    assert not list(undisturbed.rglob("*.jsonl.part")) and not (undisturbed / JOURNAL).exists()


RATE_LIMITED = {"error": {"code": "ratelimited", "info": "You've exceeded your rate limit."}}
LAGGED = {"error": {"code": "maxlag", "info": "Waiting for 10.0.0.12: 7 seconds lagged."}}
JSON = "application/json"


def test_whatever_befalls_the_requests_the_table_is_the_same(
    world: Path, undisturbed: Path, tmp_path: Path, pauses: list[float]
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    whole = json_response({"query": {"pages": []}}, "cut short")
    faults: dict[int, Response] = {
        0: Response(b"", status=503),
        3: Response(json.dumps(RATE_LIMITED).encode(), JSON),
        6: Response(b"", status=429, headers={"Retry-After": "7"}),
        9: Response(json.dumps(LAGGED).encode(), JSON, headers={"Retry-After": "5"}),
        10: Response(json.dumps(LAGGED).encode(), JSON, headers={"Retry-After": "5"}),
        15: replace(whole, cut=True),
        18: Response(b'{"query": {"pa', JSON),
        21: Response(b"", status=429, headers={"Retry-After": soon}),
    }
    requests = iter(range(10_000))

    def fault(_: Request) -> Response | None:
        number = next(requests)
        if number == 12:
            raise ConnectionResetError("in the middle")
        return faults.get(number)

    log = mine(world, tmp_path, fault)
    assert contents(tmp_path) == contents(undisturbed)
    assert answered(log) == answered(asked(undisturbed / "requests-0.jsonl"))
    assert [round(p) for p in pauses[:-1]] == [60, 60, 7, 5, 120, 60, 60, 60]
    assert 290 < pauses[-1] <= 300


MINER = """
import sys
from pathlib import Path
from howto100m.tasks.select import Rules, mine_tasks
from howto100m.tasks.wikihow import WikiHow
proxy, ca, output, shards, *kept = sys.argv[1:]
wikihow = WikiHow("our-lab (us@our-lab.org)", 0.0, proxy, Path(ca))
mine_tasks(wikihow, Path(output), int(shards), Rules.of(kept))
"""


def test_killed_at_any_request_the_next_run_goes_on(
    world: Path, undisturbed: Path, tmp_path: Path
) -> None:
    kills = [1, 5, 3, 8]  # in the category tree, in a split batch, …; counted in requests of a run
    miner: subprocess.Popen[bytes]
    seen = 0
    in_flight: list[tuple[str, str]] = []

    def kill(request: Request) -> None:
        nonlocal seen
        if kills and seen == kills[0]:
            in_flight.append(
                (request.query.get("gapcontinue", ""), request.query.get("clcontinue", ""))
            )
            os.kill(miner.pid, signal.SIGKILL)
        seen += 1

    log = tmp_path / "requests.jsonl"
    with sites(world, log, kill, REAL_ROWS) as door:
        arguments = [door.proxy, door.ca, tmp_path / "tasks", SHARDS, *KEPT]
        while True:
            command = [sys.executable, "-c", MINER, *map(str, arguments)]
            seen, miner = 0, subprocess.Popen(command, stderr=subprocess.DEVNULL)
            if not kills:
                break
            assert miner.wait(60) == -signal.SIGKILL
            assert not list((tmp_path / "tasks").glob("*.parquet"))
            del kills[0]
        assert miner.wait(60) == 0
    assert contents(tmp_path) == contents(undisturbed)
    whole = answered(asked(undisturbed / "requests-0.jsonl"))
    twice = answered(asked(log)) - whole
    assert set(twice) <= set(in_flight[1:]) and twice.total() <= 3
    assert set(answered(asked(log))) == set(whole)
    assert sum(r["what"] == "revisions" for r in asked(log)) <= 2
    assert not (tmp_path / "tasks" / JOURNAL).exists()


def test_stopped_while_it_writes_the_next_run_asks_nothing(
    world: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("howto100m.tasks.select.write_shard", stop)
        mine(world, tmp_path)
    assert mine(world, tmp_path) == []
    assert contents(tmp_path) == contents(undisturbed)


def test_a_run_after_a_whole_one_asks_anew(known: World, tmp_path: Path) -> None:
    pages = known.pages[-20:]
    mine(save(replace(known, pages=pages), tmp_path / "old"), tmp_path)
    renamed = [replace(page, title=f"{page.title} Again") for page in pages[:5]]
    log = mine(save(replace(known, pages=tuple(renamed)), tmp_path / "new"), tmp_path)
    assert sum(r["what"] == "allpages" for r in log) == 1
    assert {row["title"] for row in rows_of(tmp_path).values()} == {
        page.title for page in renamed if not page.redirect
    }


def test_what_a_stand_in_answered_is_not_taken_for_the_sites(small: Path, tmp_path: Path) -> None:
    with sites(small) as door:
        journal = visitor(door).journal(tmp_path / JOURNAL)
        assert visitor(door).parents(journal)
        assert len(visitor(door).journal(tmp_path / JOURNAL).done) == 1
    assert WikiHow("our-lab (us@our-lab.org)", 0.0).journal(tmp_path / JOURNAL).done == {}


def test_hostile_titles_reach_the_table_as_they_are(undisturbed: Path) -> None:
    rows = rows_of(undisturbed)
    for number, title in enumerate(HOSTILE):
        found = rows[str(9_000_000 + number)]["title"]
        assert found == title.replace("\ud83d", "?")
        assert len(query_of(found).splitlines()) == 1


def text(robots: str, kind: str = "text/plain", status: int = 200) -> Fault:
    answer = Response(robots.encode(), kind, status)
    return lambda request: answer if request.path == "/robots.txt" else None


@pytest.mark.parametrize(
    "robots",
    [
        "User-agent: *\nDisallow: /api.php",
        "\ufeffUser-agent: *\nDisallow: /",
        "User-agent: *\nAllow: /\n\nUser-agent: Our-Lab\nDisallow: /api",
        "User-agent: *\nDisallow: /*action=query",
        "User-agent: *\nDisallow: /*.php",
    ],
)
def test_what_robots_txt_forbids_is_not_asked(
    small: Path, tmp_path: Path, robots: str, pauses: list[float]
) -> None:
    with pytest.raises(UserError, match=r"robots\.txt forbids /api\.php to our-lab; .*howto100m"):
        mine(small, tmp_path, text(robots))
    assert [r["path"] for r in asked(tmp_path / "requests-0.jsonl")] == ["/robots.txt"]
    assert pauses == []


@pytest.mark.parametrize(
    ("robots", "pause"),
    [
        ("User-agent: *\nDisallow: /index.php\nDisallow: /api.php$", 3.0),
        ("User-agent: wget\nDisallow: /\n\nUser-agent: *\nCrawl-delay: 1", 3.0),
        ("User-agent: *\nCrawl-delay: 7.5", 7.5),
        ("User-agent: *\nRequest-rate: 2/30s", 15.0),
        ("User-agent: *\nDisallow: /\nAllow: /api.php", 3.0),
    ],
)
def test_the_longer_pause_holds_robots_txts_or_the_settings(
    small: Path, tmp_path: Path, robots: str, pause: float, pauses: list[float]
) -> None:
    log = mine(small, tmp_path, text(robots), delay=3.0)
    assert len(pauses) == len(log) - 1 > 1
    assert pauses == pytest.approx([pause] * len(pauses), abs=0.5)


def test_a_site_without_robots_txt_forbids_nothing(small: Path, tmp_path: Path) -> None:
    mine(small, tmp_path, text("Not found", "text/html", 404))
    assert rows_of(tmp_path)


CHALLENGE = b"<html><head><title>Just a\n moment...</title></head></html>"
HTML = "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["/robots.txt", "/api.php"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(CHALLENGE, HTML, 403), r"HTTP 403, text/html.*'Just a moment\.\.\.'"),
        (Response(CHALLENGE, HTML, 200), r"HTTP 200, text/html.*'Just a moment\.\.\.'"),
        (Response(CHALLENGE, HTML, 503, {"cf-mitigated": "challenge"}), "HTTP 503"),
        (
            Response(b"", HTML, 302, {"Location": "https://elsewhere.example/login"}),
            r"HTTP 302.*a redirect to https://elsewhere\.example/login, an empty body",
        ),
    ],
)
def test_a_refusal_is_one_line_that_says_what_came_and_what_else_to_do(
    small: Path, tmp_path: Path, path: str, answer: Response, said: str, pauses: list[float]
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        mine(small, tmp_path, lambda request: answer if request.path == path else None)
    message = str(caught.value)
    assert message.startswith(f"https://www.wikihow.com{path} refuses: ") and "\n" not in message
    assert "tasks.from: table" in message and "tasks.from: howto100m" in message
    assert [r["path"] for r in asked(tmp_path / "requests-0.jsonl")].count(path) == 1
    assert not list(tmp_path.rglob("*.parquet")) and pauses == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([1, 2], r"refuses: HTTP 200, application/json.*'\[1, 2\]'"),
        ({"error": "no"}, "refuses: HTTP 200"),
        ({"error": {"code": "readapidenied", "info": "No."}}, "refuses: readapidenied: No"),
        ({"query": {"pages": [{"title": "x"}]}}, r"not MediaWiki's \(KeyError: 'pageid'\)"),
        ({"query": []}, "not MediaWiki's"),
        ({"query": {}}, "lists no article"),
        ({"continue": {"gapcontinue": "A", "continue": "-||"}}, "goes round in circles"),
    ],
)
def test_an_answer_that_is_none_is_one_line_too(
    small: Path, tmp_path: Path, body: Any, said: str
) -> None:
    def fault(request: Request) -> Response | None:
        return json_response(body) if "generator" in request.query else None

    with pytest.raises(UserError, match=said) as caught:
        mine(small, tmp_path, fault)
    assert "tasks.from: table" in str(caught.value) and "\n" not in str(caught.value)


def test_a_site_without_the_category_tree_is_said(small: Path, tmp_path: Path) -> None:
    missing = {"query": {"pages": [{"ns": 4, "title": "WikiHow:Categories", "missing": True}]}}

    def fault(request: Request) -> Response | None:
        return json_response(missing) if "titles" in request.query else None

    with pytest.raises(UserError, match=r"no page wikiHow:Categories.*tasks\.from"):
        mine(small, tmp_path, fault)


def test_a_site_that_stays_busy_ends_the_run_and_what_is_done_is_kept(
    small: Path, tmp_path: Path, pauses: list[float]
) -> None:
    def fault(request: Request) -> Response | None:
        return json_response(RATE_LIMITED) if "generator" in request.query else None

    with pytest.raises(StageStopped, match=r"ratelimited: You've exceeded.*tasks\.from"):
        mine(small, tmp_path, fault)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    log = mine(small, tmp_path)
    assert [r["what"] for r in log] == ["robots", "allpages"]


def test_a_site_out_of_reach_is_given_up_soon(tmp_path: Path, pauses: list[float]) -> None:
    nowhere = WikiHow("our-lab (us@our-lab.org)", 0.0, "http://127.0.0.1:9", Path(certs.where()))
    with pytest.raises(StageStopped, match="out of reach"):
        mine_tasks(nowhere, tmp_path, 1, Rules.of(KEPT))
    assert pauses == [60, 120]


def test_a_misspelt_category_is_named(small: Path, tmp_path: Path) -> None:
    with sites(small) as door, pytest.raises(UserError, match="Helth"):
        mine_tasks(visitor(door), tmp_path / "tasks", 1, Rules.of(["Helth"]))


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("0", 0), (" 120 ", 120), ("-5", None), ("soon", None), ("", None), ("1.5", None)],
)
def test_retry_after_is_seconds_or_a_date(told: str, seconds: float | None) -> None:
    assert retry_after(answer(told)) == seconds


def test_a_date_that_is_past_asks_for_no_pause() -> None:
    assert retry_after(answer("Wed, 21 Oct 2015 07:28:00 GMT")) == 0


def test_a_site_that_wants_more_than_a_day_stops_the_stage() -> None:
    with pytest.raises(StageStopped, match=r"Retry-After: 90000\): run again then"):
        retry_after(answer("90000"))
    with pytest.raises(StageStopped):
        retry_after(answer("9" * 5000))


def answer(told: str) -> requests.Response:
    made = requests.Response()
    made.url, made.headers["Retry-After"] = "https://www.wikihow.com/api.php?action=query", told
    return made


@pytest.fixture
def line(known: World, tmp_path: Path) -> Iterator[Path]:
    """A folder for the workflow, with a sample world of hostile titles."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["tasks"]["categories"] = []
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    save(replace(known, pages=known.pages[-len(HOSTILE) :]), tmp_path / "results" / "sample")
    yield tmp_path


@pytest.mark.heavy
def test_no_shell_line_holds_a_title(line: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "-p", "search"]
    command += ["--cores", "2", "--directory", line, "--profile", "none"]
    command += ["--workflow-profile", ROOT / "profiles" / "default", "--until", "search_tasks"]
    run = subprocess.run(
        [str(part) for part in command], cwd=line, capture_output=True, text=True, check=False
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-4000:]
    assert said.count("python -m howto100m search ") == 2
    assert not any(word in said for word in ("Quotes", "alert", "pwned", "passwd", "xxx", "🧶"))
    tables = sorted((line / "results" / "search").glob("?????.status.parquet"))
    kept = [s for table in tables for s in read_table(table).to_pylist()]
    assert len(kept) >= 5 and {s["kind"] for s in kept} == {"no_results"}
    assert not list(line.rglob("*pwned*"))
