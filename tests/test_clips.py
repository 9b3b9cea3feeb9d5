"""Captions: the rolling form undone, marks and stop words out; clips: a line each."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howto100m import tables
from howto100m.clips.captions import (
    content_words,
    count_words,
    lines_of,
    read_cues,
    show,
    stop_words,
)
from howto100m.clips.pairing import clips_of, cut_clips, read_clips
from howto100m.clips.subtitles import choose_track
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import read_table, status_path, write_table
from howto100m.videos.youtube import Track

ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:02.879 --> 00:00:05.430 align:start position:0%
 
good<00:00:03.120><c> afternoon</c>

00:00:05.430 --> 00:00:05.440 align:start position:0%
good afternoon
 

00:00:05.440 --> 00:00:07.349 align:start position:0%
good afternoon
uh

00:00:07.349 --> 00:00:07.359 align:start position:0%
uh
 

00:00:07.359 --> 00:00:08.950 align:start position:0%
uh
uh

00:00:08.950 --> 00:00:08.960 align:start position:0%
uh
 

00:00:08.960 --> 00:00:11.830 align:start position:0%
uh
let's<00:00:09.440><c> fold</c>
"""  # noqa: W293 - the blank upper line is part of the form


def vtt(*cues: tuple[str, str]) -> str:
    return "WEBVTT\n\n" + "".join(f"{times}\n{text}\n\n" for times, text in cues)


def stamp(seconds: float) -> str:
    return f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{seconds % 60:06.3f}"


def rolling(lines: list[list[str]]) -> str:
    """Words, by line, in the form of YouTube's ASR: 2 s a line, moved up by a cue of 10 ms."""
    text, before = "WEBVTT\nKind: captions\nLanguage: en\n\n", " "
    for number, words in enumerate(lines):
        start, end = 2.0 * number, 2.0 * number + 1.99
        later = "".join(f"<{stamp(start + 0.1)}><c> {word}</c>" for word in words[1:])
        text += f"{stamp(start)} --> {stamp(end)} align:start position:0%\n"
        text += f"{before}\n{words[0]}{later}\n\n"
        before = " ".join(words)
        text += f"{stamp(end)} --> {stamp(end + 0.01)} align:start position:0%\n{before}\n \n\n"
    return text


def test_every_spoken_word_once_with_its_lines_own_time() -> None:
    lines = lines_of(read_cues(ROLLING))
    assert [(line.start, line.end, line.raw_text) for line in lines] == [
        (2.879, 5.43, "good afternoon"),
        (5.44, 7.349, "uh"),
        (7.359, 8.95, "uh"),
        (8.96, 11.83, "let's fold"),
    ]


WORDS = st.text(st.sampled_from("abcdeé'"), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=9), min_size=1, max_size=12))
def test_the_rolling_form_comes_back_word_for_word(lines: list[list[str]]) -> None:
    if all(len(words) == 1 for words in lines):
        lines.append(["two", "words"])  # a track without any word time has not the rolling form
    found = lines_of(read_cues(rolling(lines)))
    assert [line.raw_text.split() for line in found] == lines
    starts = [line.start for line in found]
    assert starts == sorted(set(starts))


def test_a_plain_track_keeps_its_lines() -> None:
    lines = lines_of(
        read_cues(
            vtt(
                ("00:01.000 --> 00:02.500", "first &amp; <i>best</i>"),
                ("00:00:02.500 --> 00:00:04.000 line:90%", "two\nrows"),
                ("01:00:04.000 --> 01:00:05.000", "&nbsp;"),
                ("00:00:09.000 --> 00:00:08.000", "backwards"),
            )
        )
    )
    assert [(line.start, line.end, line.raw_text) for line in lines] == [
        (1.0, 2.5, "first & best"),
        (2.5, 4.0, "two rows"),
    ]


def test_only_tags_are_taken_out() -> None:
    assert show("1 < 2 and 3 > 2 <c.yellow>yes</c> <00:00:01.000><v Ann>no</v>") == (
        "1 < 2 and 3 > 2 yes no"
    )


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("[Music]", ""),
        ("♪ la la ♪", "la la"),
        (">> so take the [&nbsp;__&nbsp;] glue", "so take the glue"),
        (">> MAN: fold the paper", "fold the paper"),
        ("- Hello there", "Hello there"),
        ("(upbeat music) now (carefully) cut", "now (carefully) cut"),
        ("NASA: a story", "a story"),
    ],
)
def test_marks_are_no_words(raw: str, spoken: str) -> None:
    text = vtt(("00:01.000 --> 00:02.500", raw.replace(">>", "&gt;&gt;")))
    assert [line.spoken for line in lines_of(read_cues(text))] == [spoken]


def test_captions_are_lower_case_without_stop_words() -> None:
    assert (
        content_words("Now, you're gonna take the RED Star; it's Ann's!") == "take red star ann's"
    )
    assert content_words("Um, so yeah.") == ""
    assert {"the", "um", "youtube", "you're"} <= stop_words()
    assert not {"red", "cut", "paper", "spin"} & stop_words()


@pytest.mark.parametrize(
    "text", ["", "<!DOCTYPE html><html>Sorry</html>", "1\n00:00:01,000 --> 00:00:02,000\nhello\n"]
)
def test_what_is_no_webvtt_is_malformed(text: str) -> None:
    with pytest.raises(ItemError) as caught:
        read_cues(text)
    assert caught.value.kind is Kind.MALFORMED


def test_a_line_without_content_words_makes_no_clip() -> None:
    text = vtt(
        ("00:01.000 --> 00:02.000", "so yeah"),
        ("00:02.000 --> 00:03.000", "cut the onion"),
        ("00:03.000 --> 00:04.000", "fry it"),
    )
    clips = clips_of("v", lines_of(read_cues(text)))
    assert [(c["clip"], c["start"], c["text"], c["raw_text"]) for c in clips] == [
        (0, 2.0, "cut onion", "cut the onion"),
        (1, 3.0, "fry", "fry it"),
    ]
    with pytest.raises(ItemError) as caught:
        clips_of("v", lines_of(read_cues(vtt(("00:01.000 --> 00:02.000", "so yeah")))))
    assert caught.value.kind is Kind.NO_CLIPS


def test_one_bad_track_does_not_stop_the_others(tmp_path: Path) -> None:
    tracks = [("a", vtt(("00:01.000 --> 00:02.000", "cut onion"))), ("b", "<html>"), ("c", "")]
    rows = [
        {"video_id": v, "language": "en", "kind": "asr", "vtt": t}
        | {"words": 2, "views": 100, "duration": 9.0}
        for v, t in tracks
    ]
    write_table(tmp_path / "subtitles.parquet", rows, tables.SUBTITLES)
    cut_clips(tmp_path / "subtitles.parquet", tmp_path / "clips.parquet", max_failed=1.0)
    assert read_table(tmp_path / "clips.parquet")["video_id"].to_pylist() == ["a"]
    status = read_table(status_path(tmp_path / "clips.parquet")).to_pylist()
    assert [(s["id"], s["status"], s["kind"]) for s in status] == [
        ("a", "ok", None),
        ("b", "failed", "malformed"),
        ("c", "failed", "malformed"),
    ]


def test_vtt_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "one.en.vtt").write_text("\ufeff" + ROLLING)
    read_clips([tmp_path], tmp_path / "clips.parquet", max_failed=0.5)
    rows = read_table(tmp_path / "clips.parquet").to_pylist()
    assert [(r["video_id"], r["text"]) for r in rows] == [
        ("one", "good afternoon"),
        ("one", "fold"),
    ]
    with pytest.raises(UserError, match="another file has the id one"):
        read_clips([tmp_path, tmp_path / "one.en.vtt"], tmp_path / "clips.parquet", max_failed=0.5)
    with pytest.raises(UserError, match="nowhere is no file"):
        read_clips([tmp_path / "nowhere"], tmp_path / "clips.parquet", max_failed=0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.vtt file"):
        read_clips([tmp_path / "empty"], tmp_path / "clips.parquet", max_failed=0.5)


def track(language: str, kind: str) -> Track:
    return Track(language, kind, f"https://example.org/{language}/{kind}")


ALL = ("manual", "asr", "translated")


@pytest.mark.parametrize(
    ("tracks", "kinds", "chosen"),
    [
        ([("en", "asr"), ("en-orig", "asr"), ("en", "manual")], ALL, ("en", "manual")),
        ([("en-GB", "manual"), ("en", "asr")], ALL, ("en-GB", "manual")),
        ([("en-GB", "manual"), ("en", "manual")], ALL, ("en", "manual")),
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


@pytest.mark.parametrize("words", [99, 100])
def test_words_are_counted_after_the_rolling_form_is_undone(words: int) -> None:
    lines = [["word"] * 7] * (words // 7) + [["word"] * (words % 7)] * (words % 7 > 0)
    assert count_words(lines_of(read_cues(rolling(lines)))) == words
