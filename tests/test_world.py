"""The simulated crawl: it adds up, and the documentation shows what it says."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORLD = runpy.run_path(str(ROOT / "benchmarks" / "world.py"))
World, simulate = WORLD["World"], WORLD["simulate"]


def test_the_documentation_shows_the_table() -> None:
    text = (ROOT / "docs" / "running.md").read_text()
    shown = text.partition("<!-- benchmarks/world.py -->\n")[2].partition("<!-- /")[0]
    assert shown == WORLD["table"]() + "\n"


def test_twice_the_sessions_halve_the_days_while_gpus_keep_up() -> None:
    one = simulate(World(videos=1_000_000, gpus=8))
    two = simulate(replace(one.world, sessions=2))
    assert two.days == pytest.approx(one.days / 2, rel=0.01)
    assert two.requests == one.requests and two.gpu_hours == one.gpu_hours


def test_the_slowest_kind_of_request_sets_the_pace() -> None:
    world = World(videos=100_000)
    twice, once = simulate(world), simulate(replace(world, asked_twice=0))
    assert once.requests < twice.requests and once.days < twice.days
    pieces = [simulate(replace(world, asked_twice=0, pieces_per_video=n)) for n in (1, 2, 8)]
    assert pieces[0].days == pieces[1].days == once.days < pieces[2].days


def test_media_pile_up_behind_a_slow_gpu_and_do_not_behind_a_fast_one() -> None:
    fast = simulate(World(videos=100_000))
    slow = simulate(World(videos=100_000, clips_per_second=10, images_per_second=10))
    shard = fast.downloaded / round(100_000 / (1 - fast.world.lost) / 1024)
    assert fast.most_media == pytest.approx(2 * shard)
    assert slow.most_media > 0.5 * slow.downloaded
    assert slow.days > fast.days


def test_nothing_is_left_on_disk_but_the_tables() -> None:
    crawl = simulate(World(videos=10_000, sessions=3, gpus=2))
    _, media, kept = crawl.disk[-1]
    assert media == pytest.approx(0, abs=1)
    assert kept == pytest.approx(crawl.tables)
    assert sorted(day for day, _, _ in crawl.disk) == [day for day, _, _ in crawl.disk]
