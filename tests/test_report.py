"""The report's figures of the corpus, and the page on which a person judges pairs."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from howto100m import tables
from howto100m.clips.pairing import Statistics, captions_of, clips_of
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.report import facts, plots
from howto100m.report.annotate import share_of, wilson, write_annotation_page
from howto100m.report.counts import count_stages
from howto100m.shards import Outcome, shard_path, statistics_path, write_status, write_table
from howto100m.shards import status_path as status_of
from test_features_decode import encode, numbered

CATEGORIES = ["Health", "Health", "Pets and Animals"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three videos with clips of 2 s: 2, 4 and 6 of them, with 1, 2 and 3 words; one left out."""
    videos, clips, statistics, outcomes, media = [], [], [], [], []
    for number, category in enumerate([*CATEGORIES, "Health"]):
        video_id = f"video{number:06}"
        found = {"task_id": str(number), "rank": 1}
        videos.append(
            {"video_id": video_id, "tasks": [found], "category_1": category, "category_2": ""}
            | found
            | {"title": "", "channel": "", "views": None, "duration": None}
        )
        lines = "".join(
            f"00:{2 * i:02}.000 --> 00:{2 * i + 2:02}.000\n[x] {'cut ' * (number + 1)}&amp;\n\n"
            for i in range(2 * number + 2)
        )
        if number == 3:
            outcomes.append(Outcome.of(video_id, ItemError(Kind.EVALUATION_VIDEO)))
            continue
        counts = Statistics(video_id)
        captions, counts.backward = captions_of(f"WEBVTT\n\n{lines}", "line")
        clips += clips_of(captions, None, counts)
        statistics.append(vars(counts))
        outcomes.append(Outcome(video_id))
        path = encode(tmp_path / f"{video_id}.mp4", numbered(50 * (number + 1)))
        media.append({"video_id": video_id, "path": str(path), "bytes": 1, "sha256": ""})
        media[-1] |= {"width": 64, "height": 48, "duration": 2.0 * (number + 1)}
    folder = tmp_path / "results"
    for stage, rows, schema in (
        ("videos", videos, tables.VIDEOS),
        ("clips", clips, tables.CLIPS),
        ("media", media, tables.MEDIA),
    ):
        write_table(shard_path(folder / stage, 0), rows, schema)
    clips_table = shard_path(folder / "clips", 0)
    write_table(statistics_path(clips_table), statistics, tables.CLIP_STATISTICS)
    write_status(status_of(clips_table), outcomes)
    return folder


def test_categories_have_their_means_beside_the_papers_figures(results: Path) -> None:
    found = facts.categories(results)
    assert [(c.name, c.tasks, c.videos, c.clips) for c in found] == [
        ("Health", 3, 2, 6),
        ("Pets and Animals", 1, 1, 6),
    ]
    assert [c.clips_a_video for c in found] == [3, 6]
    assert [c.clip_seconds for c in found] == [2, 2]
    assert [c.clip_words for c in found] == pytest.approx([10 / 6, 3])
    assert (found[0].paper_tasks, found[0].paper_videos, found[0].paper_clips) == (
        "172",
        "15k",
        "1.7M",
    )


def test_lines_and_left_out_videos_are_counted(results: Path) -> None:
    assert facts.lines(results) == facts.Lines(12, 12, 0, 0, 0, 0, excluded=1)
    assert facts.spread(results) == {
        "clips a video": [(2, 1), (4, 1), (6, 1)],
        "seconds a clip": [(2, 12)],
        "words a clip": [(1, 2), (2, 4), (3, 6)],
    }


def test_a_line_that_left_stages_out_adds_up(results: Path) -> None:
    (clips,) = count_stages(results)
    assert (clips.stage, clips.items, clips.expected, clips.adds_up) == ("clips", 4, 4, True)
    corpus = facts.corpus(results)
    assert (corpus.tasks, corpus.videos, corpus.clips, corpus.pairs) == (4, 3, 12, 0)
    assert corpus.hours == pytest.approx(12 / 3600)


def test_titles_are_counted_by_verb_over_shards_without_those_of_other_categories(
    tmp_path: Path,
) -> None:
    titles = [
        ("1", "Make Tea", "make", True, "100% physical senses"),
        ("2", "Make Money", "make", False, "overridden: abstract"),
        ("3", "Make Jam", "make", True, "100% physical senses"),
        ("4", "Feel Good", "feel", False, "reviewed: abstract"),
        ("5", "Make Law", "make", False, "category: Work World"),
        ("6", "10 <b>Ways</b>", "", False, "a question or a list"),
    ]
    names = ("task_id", "title", "verb", "visual", "reason")
    rows = [dict(zip(names, t, strict=True)) | {"category_1": "", "category_2": ""} for t in titles]
    for shard in (0, 1):
        write_table(shard_path(tmp_path / "tasks", shard), rows[shard::2], tables.TASKS)
    assert facts.verbs(tmp_path) == [
        facts.VerbCount("make", 2, 1, "100% physical senses", "Make Jam"),
        facts.VerbCount("", 0, 1, "a question or a list", "10 <b>Ways</b>"),
        facts.VerbCount("feel", 0, 1, "reviewed: abstract", "Feel Good"),
    ]


@pytest.mark.parametrize("values", [[], [(4.0, 7)], [(1.0, 2), (2.5, 1), (900.0, 1)]])
def test_a_spread_is_drawn_whatever_it_holds(values: list[tuple[float, int]]) -> None:
    svg = plots.histogram("clips a video", values, 110.0)
    assert svg.startswith("<svg") and "clips a video" in svg and "paper" in svg


def pairs_on(page: Path) -> list[dict[str, Any]]:
    (found,) = re.findall(r"const pairs = (\[.*\]);", page.read_text())
    pairs: list[dict[str, Any]] = json.loads(found)
    return pairs


def test_the_page_holds_random_pairs_of_the_seed_and_nothing_from_outside(
    results: Path, tmp_path: Path
) -> None:
    pages = [tmp_path / f"{name}.html" for name in ("a", "again", "b")]
    for page, seed in zip(pages, (1, 1, 2), strict=True):
        write_annotation_page(results, page, 5, seed)
    assert pages[0].read_bytes() == pages[1].read_bytes()
    drawn = [[(p["video_id"], p["clip"]) for p in pairs_on(page)] for page in pages]
    assert len(set(drawn[0])) == 5 and drawn[0] != drawn[2]
    assert all(p["picture"].startswith("data:image/jpeg;base64,") for p in pairs_on(pages[0]))
    assert all(p["line"].startswith("[x] cut") and "&" in p["line"] for p in pairs_on(pages[0]))
    for outside in ('src="http', 'href="http', "@import", "<script src"):
        assert outside not in pages[0].read_text()


def test_the_picture_is_of_the_clips_middle(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def still(path: Path, second: float) -> np.ndarray:
        asked.append(second)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("howto100m.report.page.still", still)
    write_annotation_page(results, tmp_path / "page.html", 12, 1)
    assert sorted(asked) == [1, 1, 1, 3, 3, 3, 5, 5, 7, 7, 9, 11]


def test_a_line_cannot_break_out_of_the_page(results: Path, tmp_path: Path) -> None:
    clips = shard_path(results / "clips", 0)
    row = {"video_id": "video000000", "clip": 0, "start": 0.0, "end": 2.0, "text": "cut"}
    text = "</script><script>alert(1)</script> \u2028 \"'"
    write_table(clips, [row | {"raw_text": text}], tables.CLIPS)
    write_annotation_page(results, tmp_path / "page.html", 1, 1)
    assert (tmp_path / "page.html").read_text().count("</script>") == 1
    assert pairs_on(tmp_path / "page.html")[0]["line"] == text


def test_gone_videos_are_left_out_and_none_at_all_is_said(
    results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "video000000.mp4").unlink()
    (tmp_path / "video000001.mp4").write_bytes(b"damaged")
    write_annotation_page(results, tmp_path / "page.html", 12, 1)
    assert {p["video_id"] for p in pairs_on(tmp_path / "page.html")} == {"video000002"}
    assert "6 of 12 pairs" in caplog.text
    (tmp_path / "video000002.mp4").unlink()
    with pytest.raises(UserError, match=r"set media\.keep"):
        write_annotation_page(results, tmp_path / "page.html", 12, 1)


def test_the_share_of_yes_comes_with_its_interval(tmp_path: Path) -> None:
    rows = [f"v{i},0,{'yes' if i < 204 else 'no'},words" for i in range(400)]
    (tmp_path / "a.csv").write_text("\n".join(["video_id,clip,answer,text", *rows, "w,1,,", ""]))
    share = share_of(tmp_path / "a.csv")
    assert (share.yes, share.answers) == (204, 400)
    assert (share.low, share.high) == pytest.approx((0.4611, 0.5587), abs=1e-4)
    assert str(share).startswith("204 of 400 pairs show something that the line names: 51.0%")
    assert wilson(0, 10).low == pytest.approx(0) and wilson(10, 10).high == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,clip\nv,0\n", "has no columns"),
        ("video_id,clip,answer\nv,0,maybe\n", "line 2: 'maybe' is not yes or no"),
        ("video_id,clip,answer\nv,0,yes\nv,0,no\n", "line 3: v:0 comes twice"),
        ("video_id,clip,answer\nv,0,\n", "holds no answer yet"),
    ],
)
def test_a_file_of_answers_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        share_of(tmp_path / "a.csv")
