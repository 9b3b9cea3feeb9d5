"""The search page: what it answers, to whom, and how it looks to a real browser."""

import asyncio
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from howto100m.find.batches import Batches
from howto100m.find.finder import Finder
from howto100m.find.index import index_clips
from howto100m.find.serve import make_app, serve
from howto100m.kinds import UserError
from search_index import SHARDS, write_results
from test_features_decode import encode, numbered

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from load import ask_for

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Finder:
    folder = tmp_path_factory.mktemp("world")
    video = encode(folder / "food0000001.mp4", numbered(14 * 25))
    results = write_results(folder / "results", SHARDS, {"food0000001": video})
    index_clips(results, results / "embedding/max_margin-1.pth", folder / "index", max_words=20)
    return Finder.open(folder / "index")


@pytest.fixture(scope="module")
def url(finder: Finder) -> Iterator[str]:
    """The page, served by a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as door:
        server = uvicorn.Server(uvicorn.Config(make_app(finder), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def get(url: str, path: str, **options: Any) -> requests.Response:
    return requests.get(url + path, timeout=60, **options)


def test_a_search_answers_in_json(url: str) -> None:
    answer = get(url, "/api/search?q=Cut+the+purple+onion&k=2")
    found = answer.json()
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert {key: found[key] for key in ("q", "k", "category", "unknown")} == {
        "q": "Cut the purple onion",
        "k": 2,
        "category": "",
        "unknown": ["purple"],
    }
    assert found["seconds"] >= 0
    first, second = found["results"]
    assert first == {
        "rank": 1,
        "score": pytest.approx(1, abs=1e-3),
        "video_id": "food0000001",
        "clip": 1,
        "start": 4.0,
        "end": 8.0,
        "text": "cut it <script>alert(1)</script>",
        "title": "How to <b>food0000001</b>",
        "category": "Food",
        "player": "file",
        "url": "/media/food0000001#t=4.00,8.00",
        "still": "/still/food0000001/6.00",
    }
    assert second["player"] == "youtube"  # no file of it is here
    assert second["url"] == (
        "https://www.youtube-nocookie.com/embed/food0000002?start=1&end=7&autoplay=1"
    )


def test_a_category_filters(url: str) -> None:
    found = get(url, "/api/search", params={"q": "onion", "category": "Crafts"}).json()
    assert {clip["category"] for clip in found["results"]} == {"Crafts"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "q is missing"),
        ("?q=", "the query is empty"),
        ("?q=onion&k=0", "k is 0: give a number of clips from 1 to 100"),
        ("?q=onion&k=101", "from 1 to 100"),
        ("?q=onion&k=-1", "k is '-1': give a number"),
        ("?q=onion&k=ten", "k is 'ten'"),
        ("?q=onion&k=%D9%A1", "give a number"),
        ("?q=onion&k=99999999999999999999", "give a number"),
        ("?q=onion&q=wool", "q stands there 2 times"),
        ("?q=onion&catgory=Food", "catgory is no parameter: give q, k, category"),
        ("?q=onion&category=Sports", "give one of Crafts, Food"),
        ("?q=zebra", "the vocabulary has no word of 'zebra'"),
        (f"?q={'x' * 1001}", "1001 characters"),
    ],
)
def test_bad_parameters_get_400_with_a_message(url: str, query: str, message: str) -> None:
    answer = get(url, f"/api/search{query}")
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    if query.startswith("?q=") and "catgory" not in query:
        page = get(url, f"/{query}")
        assert page.status_code == 400 and 'role="alert"' in page.text


def test_what_strangers_wrote_is_escaped(url: str) -> None:
    page = get(url, "/", params={"q": "onion <script>alert(2)</script>\"'>"})
    assert page.status_code == 200
    assert "<script>alert" not in page.text and "<b>food" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text and "&lt;b&gt;food0000001" in page.text
    assert 'value="onion &lt;script&gt;' in page.text


@pytest.mark.parametrize(
    "path", ["/", "/?q=wool", "/static/page.js", "/media/nothing", "/api/search"]
)
def test_every_answer_carries_the_policy(url: str, path: str) -> None:
    headers = get(url, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_names_of_other_sites_are_not_answered(url: str) -> None:
    assert get(url, "/", headers={"Host": "evil.example"}).status_code == 400
    assert get(url, "/", headers={"Host": "localhost:8000"}).status_code == 200


def test_a_file_is_served_in_parts_and_no_other_is(url: str, finder: Finder) -> None:
    whole = Path(finder.paths["food0000001"]).read_bytes()
    part = get(url, "/media/food0000001", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == whole[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    beyond = get(url, "/media/food0000001", headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416
    for path in ("/media/food0000002", "/media/..%2F..%2Fetc%2Fpasswd", "/static/..%2Fserve.py"):
        assert get(url, path).status_code == 404


def test_a_still_is_a_picture_of_its_second(url: str) -> None:
    pictures = [get(url, f"/still/food0000001/{second}") for second in ("1.00", "6.00", "999.0")]
    assert all(p.content.startswith(b"\xff\xd8") for p in pictures)
    assert len({p.content for p in pictures}) == 3
    assert get(url, "/still/food0000002/1.00").status_code == 404
    assert get(url, "/still/food0000001/early").status_code == 404


def test_200_clients_at_once_lose_no_request(url: str) -> None:
    load = asyncio.run(ask_for(url, clients=200, seconds=3, questions=["onion", "red wool"]))
    assert set(load.answers) == {"200"}
    assert load.answers["200"] >= 200


def test_one_failing_search_fails_its_own_queries_alone(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Finder.find

    def break_at_wool(self: Finder, queries: Any) -> Any:
        if any(query.text == "wool" for query in queries):
            raise OSError("the disk is gone")
        return find(self, queries)

    monkeypatch.setattr(Finder, "find", break_at_wool)

    async def ask() -> list[Any]:
        async with Batches(finder) as batches:
            broken = await asyncio.gather(
                batches.ask(finder.read("wool", 1)), return_exceptions=True
            )
            return [*broken, await batches.ask(finder.read("onion", 1))]

    broken, found = asyncio.run(ask())
    assert isinstance(broken, OSError) and found[0].video_id == "food0000002"


def test_an_address_that_is_taken_is_told(finder: Finder, url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no index"):
        serve(tmp_path, "127.0.0.1", 0)
    results = write_results(tmp_path, SHARDS)
    index_clips(results, results / "embedding/max_margin-1.pth", tmp_path / "i", max_words=20)
    with pytest.raises(UserError, match=r"cannot be had .*: give another --port"):
        serve(tmp_path / "i", "127.0.0.1", int(url.rsplit(":", 1)[1]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage",
                 "window-size=1200,900"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.heavy
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium, chromedriver: not installed")
def test_in_a_browser_one_types_sees_the_right_clips_first_clicks_and_it_plays(
    url: str, browser: Any
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, 60, poll_frequency=0.1)
    browser.get(url)
    browser.find_element(By.NAME, "q").send_keys("cut the onion", Keys.ENTER)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "ol li"))
    assert "q=cut+the+onion" in browser.current_url  # which can be shared
    first = browser.find_element(By.CSS_SELECTOR, "ol li")
    assert "cut it <script>alert(1)</script>" in first.text and "food0000001" in first.text
    wait.until(lambda b: b.execute_script("return document.querySelector('li img').naturalWidth"))
    first.find_element(By.CSS_SELECTOR, "a.still").click()
    video = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "li video"))

    def at(name: str) -> Any:
        return browser.execute_script(f"return arguments[0].{name}", video)

    wait.until(lambda _: at("currentTime") > 4.2)
    assert at("currentTime") < 8.5
    wait.until(lambda _: at("paused"))  # at the clip's end
    assert 7.9 <= at("currentTime") < 9.5
    assert not at("error")
    complaints = [line["message"] for line in browser.get_log("browser")]
    assert not [line for line in complaints if "127.0.0.1" in line], complaints


@pytest.mark.heavy
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium, chromedriver: not installed")
def test_on_a_phone_and_in_the_dark_nothing_sticks_out_and_words_can_be_read(
    url: str, browser: Any
) -> None:
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for scheme in ("light", "dark"):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        browser.get(f"{url}/?q=cut+the+onion")
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
        shades = browser.execute_script(
            "return ['body', '.soft', '.still'].map(name => document.querySelector(name))"
            ".map(part => getComputedStyle(part))"
            ".flatMap(style => [style.color, style.backgroundColor])"
        )
        body, paper, soft, _, alt, _ = (luminance(shade) for shade in shades)
        assert (paper < 0.05) == (scheme == "dark")
        for ink in (body, soft, alt):
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5  # WCAG's AA
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def luminance(shade: str) -> float:
    """Relative luminance of a CSS colour `rgb(r, g, b)`, as WCAG defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", shade)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_load_is_counted_by_status(url: str) -> None:
    started = time.perf_counter()
    load = asyncio.run(ask_for(url, clients=2, seconds=0.2, questions=["onion", "zebra"]))
    assert set(load.answers) == {"200", "400"} and time.perf_counter() - started < 30
    assert "median" in str(load)
