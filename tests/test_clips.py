"""Clips: a line each, within the video's length; benchmarks' videos left out; the English track."""

from pathlib import Path
from typing import Any

import pytest

from howto100m import tables
from howto100m.clips.excluded import excluded_videos
from howto100m.clips.pairing import Statistics, captions_of, clips_of, cut_clips, cut_files
from howto100m.clips.subtitles import choose_track
from howto100m.kinds import ItemError, Kind, StageStopped, UserError
from howto100m.shards import Row, read_table, shard_paths, statistics_path, status_path, write_table
from howto100m.videos.youtube import Track


def vtt(*cues: tuple[str, str]) -> str:
    return "WEBVTT\n\n" + "".join(f"{times}\n{text}\n\n" for times, text in cues)


LINES = vtt(
    ("00:01.000 --> 00:02.000", "so yeah"),
    ("00:02.000 --> 00:03.000", "cut the onion"),
    ("00:09.000 --> 00:08.000", "backwards"),
    ("00:03.000 --> 00:04.500", "[Music] fry it"),
    ("00:04.500 --> 00:06.000", "eat the onion"),
)


def clips(text: str, length: float | None = None) -> tuple[list[Row], Statistics]:
    counts = Statistics("v")
    captions, counts.backward = captions_of(text, "line")
    return clips_of(captions, length, counts), counts


def test_a_line_without_content_words_makes_no_clip_and_is_counted() -> None:
    rows, counts = clips(LINES)
    assert [(c["clip"], c["start"], c["text"], c["raw_text"]) for c in rows] == [
        (0, 2.0, "cut onion", "cut the onion"),
        (1, 3.0, "fry", "[Music] fry it"),
        (2, 4.5, "eat onion", "eat the onion"),
    ]
    assert counts == Statistics(
        "v", lines=4, clips=3, empty=1, backward=1, seconds=pytest.approx(4.0), words=5
    )


@pytest.mark.parametrize(
    ("length", "ends", "outside", "cut"),
    [
        (6.0, [3.0, 4.5, 6.0], 0, 0),
        (5.0, [3.0, 4.5, 5.0], 0, 1),
        (4.5, [3.0, 4.5], 1, 0),
        (3.25, [3.0, 3.25], 1, 1),
    ],
)
def test_a_clip_ends_with_its_video(
    length: float, ends: list[float], outside: int, cut: int
) -> None:
    rows, counts = clips(LINES, length)
    assert [row["end"] for row in rows] == ends
    assert (counts.outside, counts.cut) == (outside, cut)
    assert counts.lines == counts.clips + counts.empty + counts.outside


@pytest.mark.parametrize(
    ("text", "length", "message"),
    [
        (vtt(("00:01.000 --> 00:02.000", "so yeah")), None, "of 1 lines 1 have no content word"),
        (LINES, 1.5, "of 4 lines 1 have no content word, 3 lie beyond 1.5 s"),
        ("WEBVTT\n", None, "of 0 lines 0 have"),
    ],
)
def test_a_video_without_clips_says_why(text: str, length: float | None, message: str) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        clips(text, length)
    assert caught.value.kind is Kind.NO_CLIPS


def cut(folder: Path, tracks: dict[str, str], **settings: Any) -> Path:
    """The clips of a subtitles shard whose videos are all announced with 9 s."""
    rows = [
        {"video_id": v, "language": "en", "kind": "asr", "vtt": t}
        | {"words": 2, "views": 100, "duration": 9.0}
        for v, t in tracks.items()
    ]
    write_table(folder / "subtitles.parquet", rows, tables.SUBTITLES)
    output = folder / "clips" / "00000.parquet"
    settings = {"unit": "line", "excluded": frozenset(), "max_failed": 1.0} | settings
    cut_clips(folder / "subtitles.parquet", output, **settings)
    return output


def status(output: Path) -> list[tuple[str, str, str | None, str]]:
    rows = read_table(status_path(output)).to_pylist()
    return [(s["id"], s["status"], s["kind"], s["message"]) for s in rows]


def test_one_bad_track_does_not_stop_the_others_and_its_row_names_the_cue(tmp_path: Path) -> None:
    bad = vtt(("00:01.000 --> 00:02.000", "cut onion"), ("00:02.x --> 00:03.0", "fry"))
    good = vtt(("00:01.000 --> 00:02.000", "cut onion"), ("00:10.5 --> 00:11.0", "fry"))
    output = cut(tmp_path, {"a": good, "b": bad, "c": "", "d": "WEBVTT\n"})
    assert read_table(output)["video_id"].to_pylist() == ["a"]
    assert status(output) == [
        ("a", "ok", None, ""),
        ("b", "failed", "malformed", "cue 2: no times: '00:02.x --> 00:03.0'"),
        ("c", "failed", "malformed", "not WebVTT: ''"),
        ("d", "skipped", "no_clips", "of 0 lines 0 have no content word"),
    ]
    counted = read_table(statistics_path(output)).to_pylist()
    assert [(c["video_id"], c["lines"], c["clips"], c["outside"]) for c in counted] == [
        ("a", 2, 1, 1),  # the site's 9 s may be 10
        ("d", 0, 0, 0),
    ]
    assert shard_paths(output.parent) == [output]
    with pytest.raises(StageStopped, match="2 malformed"):
        cut(tmp_path, {"a": good, "b": bad, "c": ""}, max_failed=0.5)


def test_videos_of_benchmarks_leave_and_are_counted(tmp_path: Path) -> None:
    output = cut(tmp_path, {"a": LINES, "b": LINES}, excluded=frozenset({"b", "elsewhere"}))
    assert set(read_table(output)["video_id"].to_pylist()) == {"a"}
    assert status(output)[1][:3] == ("b", "skipped", "evaluation_video")
    assert len(read_table(statistics_path(output))) == 1


def test_sentences_are_clips_where_they_are_asked_for(tmp_path: Path) -> None:
    output = cut(tmp_path, {"a": LINES}, unit="sentence")
    assert read_table(output)["text"].to_pylist() == ["cut onion fry eat onion"]


ROLLING = """WEBVTT

00:00:02.879 --> 00:00:05.430
 
good<00:00:03.120><c> afternoon</c>

00:00:05.430 --> 00:00:05.440
good afternoon
 

00:00:05.440 --> 00:00:07.000
good afternoon
let's<00:00:06.000><c> fold</c>
"""  # noqa: W293 - the blank upper line is part of the form


def cut_own(folder: Path, *paths: Path, media: Path | None = None, max_failed: float = 0.5) -> Path:
    output = folder / "clips.parquet"
    settings = {"unit": "line", "excluded": frozenset[str](), "max_failed": max_failed}
    cut_files(paths, media, output, **settings)  # type: ignore[arg-type]
    return output


def test_subtitle_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "one.en.vtt").write_text("\ufeff" + ROLLING)
    (tmp_path / "two.srt").write_bytes("1\n0:01,5 --> 0:02,5\ncrème\n".encode("utf-16"))
    (tmp_path / "notes.txt").write_text("no subtitles")
    rows = read_table(cut_own(tmp_path, tmp_path)).to_pylist()
    assert [(r["video_id"], r["text"]) for r in rows] == [
        ("one", "good afternoon"),
        ("one", "fold"),
        ("two", "crème"),
    ]
    assert [r["word_starts"] for r in rows[:2]] == [
        pytest.approx([2.879, 3.12]),
        pytest.approx([5.44, 6.0]),
    ]
    assert rows[2]["word_starts"] is None


def test_the_media_table_says_how_long_ones_own_videos_are(tmp_path: Path) -> None:
    (tmp_path / "one.vtt").write_text(ROLLING)
    row = {"video_id": "one", "path": "one.mp4", "bytes": 1, "sha256": "", "width": 1, "height": 1}
    write_table(tmp_path / "media.parquet", [row | {"duration": 5.5}], tables.MEDIA)
    rows = read_table(cut_own(tmp_path, tmp_path, media=tmp_path / "media.parquet"))
    assert rows["end"].to_pylist() == [5.43, 5.5]


def test_a_file_that_is_no_utf8_names_the_byte_and_the_cue(tmp_path: Path) -> None:
    (tmp_path / "one.vtt").write_bytes(LINES.replace("onion", "crème", 1).encode("latin-1"))
    output = cut_own(tmp_path, tmp_path, max_failed=1.0)
    assert status(output) == [
        ("one", "failed", "malformed", "cue 2: byte 75 is not utf-8; save the file as UTF-8")
    ]


def test_files_that_cannot_be_told_apart_or_found_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.vtt").write_text(ROLLING)
    with pytest.raises(UserError, match="another file has the id one"):
        cut_own(tmp_path, tmp_path, tmp_path / "one.vtt")
    with pytest.raises(UserError, match="nowhere is no file"):
        cut_own(tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.vtt or \.srt file"):
        cut_own(tmp_path, tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("ids.txt", "aaaaaaaaaaa\n\nbbbbbbbbbbb \n", ""),
        ("clips.csv", "end,video_id\n1,aaaaaaaaaaa\n2,bbbbbbbbbbb\n3,bbbbbbbbbbb\n", ""),
        ("tasks.csv", "113766,aaaaaaaaaaa,https\n113766,bbbbbbbbbbb,https\n", ":2"),
        ("own.tsv", "youtube\tvideo\naaaaaaaaaaa\tx\nbbbbbbbbbbb\ty\n", ":youtube"),
        ("odd:name.csv", "\ufeffvideo\naaaaaaaaaaa\nbbbbbbbbbbb\n", ""),
    ],
)
def test_lists_of_evaluation_videos(tmp_path: Path, name: str, text: str, column: str) -> None:
    (tmp_path / name).write_text(text)
    assert excluded_videos([f"{tmp_path / name}{column}"]) == {"aaaaaaaaaaa", "bbbbbbbbbbb"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.txt", "is no file"),
        ("ids.csv", "has no column video_id or video or youtube_id or id, but key, vid_key"),
        ("ids.csv:vid", "has no column vid, but key"),
        ("ids.csv:3", "line 1 has no column 3"),
        ("empty.txt", "names no video"),
    ],
)
def test_a_list_that_names_no_video_is_refused(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "ids.csv").write_text("key,vid_key\nret0,msr9770\n")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=message):
        excluded_videos([str(tmp_path / source)])


def test_ids_of_another_site_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ids.csv").write_text("video_id\nvideo9770\naaaaaaaaaaa\n")
    assert len(excluded_videos([str(tmp_path / "ids.csv")])) == 2
    assert "1 of 2 ids are not like YouTube's" in caplog.text


def track(language: str, kind: str) -> Track:
    return Track(language, kind, f"https://example.org/{language}/{kind}")


ALL = ("manual", "asr", "translated")


@pytest.mark.parametrize(
    ("tracks", "kinds", "chosen"),
    [
        ([("en", "asr"), ("en-orig", "asr"), ("en", "manual")], ALL, ("en", "manual")),
        ([("en-GB", "manual"), ("en", "asr")], ALL, ("en-GB", "manual")),
        ([("en-GB", "manual"), ("en", "manual")], ALL, ("en", "manual")),
        ([("en-eEY6OEpapPo", "manual"), ("en-GB", "manual")], ALL, ("en-GB", "manual")),
        ([("en-eEY6OEpapPo", "manual"), ("en", "asr")], ALL, ("en-eEY6OEpapPo", "manual")),
        ([("en-orig", "asr")], ALL, ("en-orig", "asr")),
        ([("es", "manual"), ("en-es", "translated")], ALL, ("en-es", "translated")),
        ([("es", "asr"), ("en", "translated")], ALL, ("en", "translated")),
        ([("es", "asr"), ("en", "translated")], ALL[:2], None),
        ([("en", "manual"), ("en", "asr")], ("asr", "manual"), ("en", "asr")),
        ([("enm", "manual"), ("live_chat", "manual")], ALL, None),
        ([], ALL, None),
    ],
)
def test_the_english_track(
    tracks: list[tuple[str, str]], kinds: tuple[str, ...], chosen: tuple[str, str] | None
) -> None:
    found = choose_track([track(*t) for t in tracks], kinds)
    assert (found and (found.language, found.kind)) == chosen
