"""Videos: every filter at its edge, de-duplication, what yt-dlp's errors mean."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from howto100m import tables
from howto100m.kinds import ItemError, Kind
from howto100m.shards import (
    Row,
    read_table,
    shard_of,
    shard_path,
    status_path,
    write_table,
)
from howto100m.videos.search import query_of, rank_hits
from howto100m.videos.select import Limits, select_videos
from howto100m.videos.verdicts import verdict
from howto100m.videos.youtube import Hit

LIMITS = Limits(max_rank=200, min_views=100, max_duration=2000)


def hit(video_id: str, **facts: Any) -> Hit:
    known: dict[str, Any] = {"views": 1000, "duration": 60.0, "channel": "c", "live": ""}
    return Hit(video_id=video_id, title=f"title of {video_id}", **(known | facts))


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, None),
        ({"rank": 200}, None),
        ({"rank": 201}, Kind.RANK),
        ({"views": 100}, None),
        ({"views": 99}, Kind.TOO_FEW_VIEWS),
        ({"views": 0}, Kind.TOO_FEW_VIEWS),
        ({"views": None}, None),
        ({"duration": 1999.9}, None),
        ({"duration": 2000.0}, Kind.TOO_LONG),
        ({"duration": None}, None),
        ({"live": "was_live"}, None),
        ({"live": "is_live", "duration": None}, Kind.LIVE),
        ({"live": "is_upcoming"}, Kind.LIVE),
    ],
)
def test_filters_at_their_edges(facts: dict[str, Any], kind: Kind | None) -> None:
    known: dict[str, Any] = {"rank": 1, "views": 5000, "duration": 60.0, "live": ""}
    refusal = LIMITS.refuse(**(known | facts))
    assert (refusal.kind if refusal else None) == kind


def test_an_id_that_comes_again_keeps_its_first_rank() -> None:
    ids = ["aaaaaaaaaaa", "bbbbbbbbbbb", "aaaaaaaaaaa", "ccccccccccc"]
    ranked = list(rank_hits(map(hit, ids), 200))
    assert [(rank, h.video_id) for rank, h in ranked] == [
        (1, "aaaaaaaaaaa"),
        (2, "bbbbbbbbbbb"),
        (3, "ccccccccccc"),
    ]


def test_no_result_past_the_last_is_asked_for() -> None:
    def endless() -> Iterator[Hit]:
        for number in range(201):
            assert number < 200, "a result too many was read"
            yield hit(f"video{number:06d}")

    assert len(list(rank_hits(endless(), 200))) == 200


@pytest.mark.parametrize("video_id", ["../../../x", "short", "with space", "aaaaaaaaaaa\n", ""])
def test_what_is_no_video_id_is_no_hit(video_id: str) -> None:
    assert list(rank_hits([hit(video_id)], 200)) == []


def test_queries_are_one_line_that_says_how_to_once() -> None:
    assert query_of("Paint\nFurniture ") == "how to Paint Furniture"
    assert query_of("How to Paint Furniture") == "How to Paint Furniture"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tasks = [
        {
            "task_id": task_id,
            "title": f"Make {task_id}",
            "category_1": category,
            "category_2": "",
            "verb": "make",
            "visual": True,
            "reason": "",
        }
        for task_id, category in (("1", "Health"), ("2", "Home and Garden"))
    ]
    write_table(shard_path(tmp_path / "tasks", 0), tasks, tables.TASKS)
    return tmp_path


def found(task_id: str, rank: int, video_id: str, **facts: Any) -> Row:
    known = {"title": "", "views": 1000, "duration": 60.0, "channel": "", "live": ""}
    return {"task_id": task_id, "rank": rank, "video_id": video_id} | known | facts


def select(world: Path, shards: int, *hits: Row) -> tuple[list[Row], dict[str, str | None]]:
    write_table(shard_path(world / "search", 0), hits, tables.SEARCH)
    paths = [shard_path(world / "videos", n) for n in range(shards)]
    select_videos(
        [shard_path(world / "search", 0)],
        [shard_path(world / "tasks", 0)],
        world / "videos",
        shards,
        LIMITS,
    )
    rows = [row for path in paths for row in read_table(path).to_pylist()]
    kinds = {
        row["id"]: row["kind"]
        for path in paths
        for row in read_table(status_path(path)).to_pylist()
    }
    return rows, kinds


def test_a_video_of_several_tasks_belongs_to_the_one_that_ranks_it_best(world: Path) -> None:
    rows, _ = select(
        world, 1, found("1", 7, "v" * 11), found("2", 3, "v" * 11), found("1", 9, "v" * 11)
    )
    [row] = rows
    assert (row["task_id"], row["rank"], row["category_1"]) == ("2", 3, "Home and Garden")
    assert [(t["task_id"], t["rank"]) for t in row["tasks"]] == [("2", 3), ("1", 7), ("1", 9)]


def test_equal_ranks_go_to_the_smaller_task_id(world: Path) -> None:
    rows, _ = select(world, 1, found("2", 3, "v" * 11), found("1", 3, "v" * 11))
    assert rows[0]["task_id"] == "1"


def test_every_video_found_is_accounted_for_once(world: Path) -> None:
    hits = [found("1", n + 1, f"video{n:06d}", views=n) for n in range(120)]
    hits += [found("2", n + 1, f"video{n:06d}", views=n) for n in range(120)]
    rows, kinds = select(world, 7, *hits)
    assert len(kinds) == 120
    assert sorted(row["video_id"] for row in rows) == [f"video{n:06d}" for n in range(100, 120)]
    assert {v for v, kind in kinds.items() if kind == "too_few_views"} == {
        f"video{n:06d}" for n in range(100)
    }


def test_videos_stand_in_their_shard_in_order(world: Path) -> None:
    hits = [found("1", n + 1, f"video{n:06d}") for n in range(60)]
    select(world, 4, *hits)
    for number in range(4):
        ids = read_table(shard_path(world / "videos", number))["video_id"].to_pylist()
        assert ids == sorted(ids)
        assert {shard_of(v, 4) for v in ids} <= {number}


def test_no_hit_at_all_makes_empty_shards(world: Path) -> None:
    rows, kinds = select(world, 2)
    assert rows == [] and kinds == {}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Sign in to confirm you’re not a bot. This helps protect our community.", Kind.BOT_CHECK),
        ("Sign in to confirm your age. This video may be inappropriate", Kind.AGE),
        (
            "This video is private. If the owner has granted you access, please sign in",
            Kind.PRIVATE,
        ),
        (
            "This content isn't available, try again later. The current session has been "
            + "rate-limited by YouTube for up to an hour.",
            Kind.RATE_LIMITED,
        ),
        ("Join this channel to get access to members-only content like this video", Kind.MEMBERS),
        ("The uploader has not made this video available in your country", Kind.GEO),
        ("Video unavailable. This video has been removed by the uploader", Kind.GONE),
        ("This live event will begin in 3 hours.", Kind.LIVE),
        ("Unable to download video subtitles for 'en': HTTP Error 429", Kind.THROTTLED),
        ("unable to download video data: HTTP Error 403: Forbidden", Kind.NETWORK),
        ("All player responses are invalid. Your IP is likely being blocked", Kind.BLOCKED),
        ("The read operation timed out", Kind.TIMEOUT),
        ("This video requires payment to watch", Kind.PAID),
        ("Something that no one has ever seen", Kind.BUG),
    ],
)
def test_error_texts_have_their_kind(message: str, kind: Kind) -> None:
    assert verdict(f"ERROR: [youtube] aaaaaaaaaaa: {message}").kind is kind


def test_a_warning_before_may_say_why_there_was_no_answer() -> None:
    message = "Failed to extract any player response"
    assert verdict(message).kind is Kind.NETWORK
    assert verdict(message, "HTTP Error 429: Too Many Requests").kind is Kind.THROTTLED


def test_a_verdict_is_an_item_error_that_keeps_the_text() -> None:
    error = verdict("ERROR: Video\nunavailable")
    assert isinstance(error, ItemError) and error.message == "Video unavailable"
