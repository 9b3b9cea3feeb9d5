"""Captions: what webvtt-py loses, the rolling form undone, marks out, lines joined to sentences."""

from dataclasses import dataclass
from html import escape
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howto100m.clips.captions import Line, count_words, is_rolling, lines_of, read_cues, show
from howto100m.clips.marks import content_words, spoken_words, stop_words
from howto100m.clips.sentences import sentences_of
from howto100m.kinds import ItemError, Kind

ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:02.879 --> 00:00:05.430 align:start position:0%
 
good<00:00:03.120><c> afternoon</c>

00:00:05.430 --> 00:00:05.440 align:start position:0%
good afternoon
 

00:00:05.440 --> 00:00:07.349 align:start position:0%
good afternoon
so

00:00:07.349 --> 00:00:07.359 align:start position:0%
so
 

00:00:07.359 --> 00:00:08.950 align:start position:0%
so
so

00:00:08.950 --> 00:00:08.960 align:start position:0%
so
 

00:00:08.960 --> 00:00:11.830 align:start position:0%
so
let's<00:00:09.440><c> fold</c>
"""  # noqa: W293 - the blank upper line is part of the form


def vtt(*cues: tuple[str, str]) -> str:
    return "WEBVTT\n\n" + "".join(f"{times}\n{text}\n\n" for times, text in cues)


def stamp(ms: int) -> str:
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


@dataclass(frozen=True)
class Spoken:
    """A line of ASR: when it begins and ends, and its words with their times, in ms."""

    start: int
    end: int
    words: list[tuple[int, str]]


def rolling(lines: list[Spoken], blank: str = " ") -> str:
    """Words with times in the form of YouTube's ASR: a line is moved up by a cue of 10 ms."""
    text, before = "WEBVTT\nKind: captions\nLanguage: en\n\n", blank
    for line in lines:
        first, *later = [(ms, escape(word, quote=False)) for ms, word in line.words]
        timed = first[1] + "".join(f"<{stamp(ms)}><c> {word}</c>" for ms, word in later)
        whole = " ".join(word for _, word in [first, *later])
        place = "align:start position:0%"
        text += f"{stamp(line.start)} --> {stamp(line.end - 10)} {place}\n{before}\n{timed}\n\n"
        text += f"{stamp(line.end - 10)} --> {stamp(line.end)} {place}\n{whole}\n{blank}\n\n"
        before = whole
    return text


WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6).filter(
    lambda word: show(escape(word, quote=False)) == word
)
"""Words of any signs but blanks and invisible ones, <, > and & among them."""


@st.composite
def speech(draw: st.DrawFn, words: st.SearchStrategy[str] = WORDS) -> list[Spoken]:
    lines, now = [], draw(st.integers(0, 4_000_000))
    for line in draw(st.lists(st.lists(words, min_size=1, max_size=8), min_size=1, max_size=8)):
        start = now = now + draw(st.integers(0, 5000))
        timed = []
        for word in line:
            timed.append((now, word))
            now += draw(st.integers(1, 3000))
        now += 40
        lines.append(Spoken(start, now, timed))
    return lines


@settings(deadline=None, max_examples=150)
@given(speech())
def test_the_rolling_form_comes_back_word_for_word(spoken: list[Spoken]) -> None:
    lines = lines_of(read_cues(rolling(spoken)))
    assert [line.raw_text.split() for line in lines] == [[w for _, w in s.words] for s in spoken]
    assert [line.start * 1000 for line in lines] == pytest.approx([s.start for s in spoken])
    assert [line.end * 1000 for line in lines] == pytest.approx([s.end - 10 for s in spoken])
    found = [ms for line in lines for ms in line.word_starts or ()]
    assert [ms * 1000 for ms in found] == pytest.approx([ms for s in spoken for ms, _ in s.words])


@settings(deadline=None, max_examples=50)
@given(speech(st.sampled_from(["so", "the", "the"])))
def test_repeated_words_and_lines_stay(spoken: list[Spoken]) -> None:
    words = [word for line in spoken for _, word in line.words]
    assert [w for line in lines_of(read_cues(rolling(spoken))) for w in line.raw_text.split()] == (
        words
    )


@settings(deadline=None, max_examples=50)
@given(speech(st.sampled_from(["ab", "cde", "f"])))
def test_blanks_that_an_editor_stripped_cost_no_word(spoken: list[Spoken]) -> None:
    whole, stripped = (lines_of(read_cues(rolling(spoken, blank))) for blank in (" ", ""))
    assert [line.raw_text for line in stripped] == [line.raw_text for line in whole]


def test_every_spoken_word_once_with_its_lines_own_time() -> None:
    lines = lines_of(read_cues(ROLLING))
    assert [(line.start, line.end, line.raw_text, line.word_starts) for line in lines] == [
        (2.879, 5.43, "good afternoon", (2.879, 3.12)),
        (5.44, 7.349, "so", (5.44,)),
        (7.359, 8.95, "so", (7.359,)),
        (8.96, 11.83, "let's fold", (8.96, 9.44)),
    ]


def test_a_hesitation_counts_once_however_many_lines_it_takes() -> None:
    lines = lines_of(read_cues(ROLLING.replace("so\n", "uh\n")))
    assert [(line.start, line.raw_text) for line in lines] == [
        (2.879, "good afternoon"),
        (5.44, "uh"),
        (8.96, "let's fold"),
    ]
    assert len(lines_of(read_cues(ROLLING.replace("so\n", "uh huh\n")))) == 4


def test_a_time_tag_within_a_word_does_not_split_it() -> None:
    text = vtt(("00:01.000 --> 00:03.000", " \nice<00:00:02.000><c>cream</c><00:00:02.500><c> is"))
    (line,) = lines_of(read_cues(text))
    assert (line.raw_text, line.word_starts) == ("icecream is", (1.0, 2.5))


def test_a_track_of_one_word_a_line_is_rolling_too_and_a_short_cue_alone_is_not() -> None:
    lone = [Spoken(i * 1000, i * 1000 + 1000, [(i * 1000, w)]) for i, w in enumerate("abb")]
    assert [line.raw_text for line in lines_of(read_cues(rolling(lone)))] == ["a", "b", "b"]
    plain = vtt(("00:01.000 --> 00:02.000", "one"), ("00:02.000 --> 00:02.010", "two"))
    assert not is_rolling(read_cues(plain))
    assert [line.raw_text for line in lines_of(read_cues(plain))] == ["one", "two"]


def shown(text: str) -> list[tuple[float, float, str]]:
    return [(line.start, line.end, line.raw_text) for line in lines_of(read_cues(text))]


def test_a_plain_track_keeps_its_lines() -> None:
    text = vtt(
        ("00:01.000 --> 00:02.500", "first &amp; <i>best</i>&lrm;"),
        ("00:00:02.500 --> 00:00:04.000 line:90%", "two\nrows"),
        ("01:00:04.000 --> 01:00:05.000", "&nbsp;"),
        ("00:00:09.000 --> 00:00:08.000", "backwards"),
    )
    assert shown(text) == [(1.0, 2.5, "first & best"), (2.5, 4.0, "two rows")]


def test_overlapping_lines_keep_their_times_in_order_of_start_and_count_once() -> None:
    text = vtt(
        ("00:03.000 --> 00:06.000", "second"),
        ("00:01.000 --> 00:04.000", "first"),
        ("00:01.000 --> 00:04.000", "first"),
    )
    assert shown(text) == [(1.0, 4.0, "first"), (3.0, 6.0, "second")]


@pytest.mark.parametrize(
    "times",
    [
        "00:00:05.000 --> 00:00:06.500",
        "00:00:05,000 --> 00:00:06,500",
        "05.000 --> 06.500",
        "5.0 --> 6.5",
        "0:05 --> 0:06.5",
        "0:00:05.000-->0:00:06.5000004 align:start position:0%",
        "\t00:05.000  -->  00:06.500 region:r1",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_times_ends_of_lines_and_byte_order_marks_of_any_kind(
    times: str, end: str, mark: str
) -> None:
    text = f"{mark}WEBVTT - title\nKind: captions\n\n1\n{times}\nfold it\n"
    assert shown(text.replace("\n", end)) == [(5.0, 6.5, "fold it")]


def test_styles_regions_and_notes_are_no_text_and_arrows_in_text_are() -> None:
    text = """WEBVTT
X-TIMESTAMP-MAP=LOCAL:00:00:00.000

STYLE
::cue { color: red }

REGION
id:r1

NOTE in --> out,
00 --> of two lines

1
00:01.000 --> 00:02.000
a --> b

and a paragraph

NOTE
late

STYLE
::cue(b) { }

7

last
00:02.000 --> 00:03.000
no blank line before
00:03.000 --> 00:04.000
this one
"""
    assert shown(text) == [
        (1.0, 2.0, "a --> b and a paragraph"),
        (2.0, 3.0, "no blank line before"),
        (3.0, 4.0, "this one"),
    ]


def test_subrip_is_read_too() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<b>hello</b>\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\nyou\n"
    )
    lines = lines_of(read_cues(text))
    assert [(line.start, line.spoken) for line in lines] == [(1.0, "hello"), (2.0, "you")]


def test_right_to_left_text_loses_only_its_marks() -> None:
    text = vtt(("00:01.000 --> 00:02.000", "&rlm;\u202bלקפל את הנייר\u202c now"))
    (line,) = lines_of(read_cues(text))
    assert line.raw_text == "לקפל את הנייר now"
    assert content_words(line.spoken) == "לקפל את הנייר"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not WebVTT: ''"),
        ("<!DOCTYPE html><html>Sorry</html>", "not WebVTT: '<!DOCTYPE html"),
        (vtt(("00:0x.000 --> 00:02.000", "hi")), "cue 1: no times: '00:0x.000 --> 00:02.000'"),
        (vtt(("00:01.000 --> 00:02.000", "a"), ("-00:01.0 --> 00:02.0", "b")), "cue 2: no times"),
        (vtt(("00:01.000 --> 00:02.000", "a"), ("00:03.000 -> 00:04.000", "b")), "cue 2: no times"),
        (vtt(("00:61.000 --> 00:62.000", "a")), "cue 1: more than 59"),
        (vtt(("1:60:01.000 --> 1:60:02.000", "a")), "cue 1: more than 59"),
        (vtt(("00:01.000 --> 00:02.000", "a")) + "00:03.000 --> 00:0", "cue 2: no times"),
        (vtt(("00:01.000 --> 00:02.000", "a")) + "3\n00:00:03.0", "cue 2: no times"),
        (vtt(("00:01.000 --> 00:02.000", "a")) + "00:0", "cue 2: no times: '00:0'"),
    ],
)
def test_malformed_text_is_refused_with_the_name_of_the_cue(text: str, message: str) -> None:
    with pytest.raises(ItemError) as caught:
        read_cues(text)
    assert caught.value.kind is Kind.MALFORMED
    assert caught.value.message.startswith(message)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("WEBVTT \n\r-->0123456789:.,<c/>&;lt\u200f[]\x00"), max_size=80))
def test_any_text_gives_lines_or_is_malformed(text: str) -> None:
    for whole in (text, f"WEBVTT\n\n{text}", f"{ROLLING}\n{text}"):
        try:
            lines = lines_of(read_cues(whole))
        except ItemError as error:
            assert error.kind is Kind.MALFORMED and error.message
        else:
            assert all(line.end > line.start and line.raw_text for line in lines)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(ROLLING)))
def test_a_cut_file_gives_what_it_had_or_is_malformed(length: int) -> None:
    whole = [line.raw_text for line in lines_of(read_cues(ROLLING))]
    try:
        lines = lines_of(read_cues(ROLLING[:length]))
    except ItemError as error:
        assert error.kind is Kind.MALFORMED
        return
    for line, full in zip(lines, whole, strict=False):
        assert full.startswith(line.raw_text) or line is lines[-1]


def test_only_tags_are_taken_out() -> None:
    assert show("1 < 2 and 3 > 2 <c.yellow>yes</c> <00:00:01.000><v Ann>no</v>") == (
        "1 < 2 and 3 > 2 yes no"
    )
    assert show('<font color="#fff">one<br/>two</font>&gt;3 &lt;i&gt;') == "one two>3 <i>"


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("[Music]", ""),
        ("♪ la la ♪", "la la"),
        ("*sizzling* cut", "sizzling cut"),
        (">> so take the [\xa0__\xa0] glue", "so take the glue"),
        (">> MAN: fold the paper", "fold the paper"),
        (">> Ann Lee: fold the paper", "fold the paper"),
        ("- Ann: fold", "fold"),
        ("Narrator: fold the paper", "fold the paper"),
        ("Speaker 2: fold the paper", "fold the paper"),
        ("Next step: fold the paper", "Next step: fold the paper"),
        ("STEP 1: fold", "STEP 1: fold"),
        ("- Hello there", "Hello there"),
        ("well-done - mostly", "well-done - mostly"),
        ("(upbeat music) now (carefully) cut", "now (carefully) cut"),
        ("<i>fold</i> 1 < 2", "fold 1 < 2"),
        ("NASA: a story", "a story"),
    ],
)
def test_marks_are_no_words(raw: str, spoken: str) -> None:
    assert spoken_words(" ".join(raw.split())) == spoken


def test_captions_are_lower_case_without_stop_words() -> None:
    assert (
        content_words("Now, you're gonna take the RED Star; it's Ann's!") == "take red star ann's"
    )
    assert content_words("Um, so yeah.") == ""
    assert {"the", "um", "youtube", "you're"} <= stop_words()
    assert not {"red", "cut", "paper", "spin"} & stop_words()


@pytest.mark.parametrize("words", [99, 100])
def test_words_are_counted_after_the_rolling_form_is_undone(words: int) -> None:
    counts = [7] * (words // 7) + [words % 7] * (words % 7 > 0)
    lines = [
        Spoken(i * 2000, i * 2000 + 1990, [(i * 2000 + j, "word") for j in range(n)])
        for i, n in enumerate(counts)
    ]
    assert count_words(lines_of(read_cues(rolling(lines)))) == words


def joined(*lines: Line) -> list[tuple[float, float, str]]:
    return [(round(s.start, 3), round(s.end, 3), s.raw_text) for s in sentences_of(lines)]


def test_a_sentence_ends_at_its_full_stop_with_the_time_of_its_words() -> None:
    assert joined(
        Line(0.0, 4.0, "fold it now."),
        Line(4.0, 8.0, "Dr. Lee takes 2. 5 oz. of"),
        Line(8, 9, "glue?"),
    ) == [(0.0, 4.0, "fold it now."), (4.0, 9.0, "Dr. Lee takes 2. 5 oz. of glue?")]
    assert joined(Line(0.0, 4.0, "aa. bbbbbbb")) == [(0.0, 1.333, "aa."), (1.333, 4.0, "bbbbbbb")]


def test_a_sentence_ends_at_a_pause_which_a_words_own_time_shows() -> None:
    timed = Line(0.0, 9.0, "fold it then cut", (0.0, 0.5, 5.0, 5.4))
    assert joined(timed) == [(0.0, 0.96, "fold it"), (5.0, 5.94, "then cut")]
    assert sentences_of([timed])[1].word_starts == (5.0, 5.4)
    assert joined(Line(0, 2, "fold it"), Line(2.6, 4, "then cut")) == [(0, 4, "fold it then cut")]
    assert len(joined(Line(0, 2, "fold it"), Line(2.8, 4, "then cut"))) == 2


def test_speakers_and_marks_stand_apart_and_long_sentences_end_with_a_line() -> None:
    texts = ["cut it", ">> why", "so", "[Music]", "glue"]
    lines = [Line(i, i + 1.0, text) for i, text in enumerate(texts)]
    assert [text for *_, text in joined(*lines)] == ["cut it", ">> why so", "[Music]", "glue"]
    endless = [Line(2.0 * i, 2.0 * i + 2, "on and on") for i in range(10)]
    assert [(start, end) for start, end, _ in joined(*endless)] == [(0, 16), (16, 20)]


@settings(deadline=None, max_examples=60)
@given(speech())
def test_sentences_hold_every_word_in_order(spoken: list[Spoken]) -> None:
    lines = lines_of(read_cues(rolling(spoken)))
    sentences = sentences_of(lines)
    words = [word for line in lines for word in line.raw_text.split()]
    assert [word for s in sentences for word in s.raw_text.split()] == words
    assert all(a.start < b.start for a, b in pairwise(sentences))
    assert all(len(s.word_starts or ()) == len(s.raw_text.split()) for s in sentences)
