import re
from itertools import pairwise

from howto100m.sample.records import Line
from howto100m.sample.subtitles import asr_vtt, plain_vtt

LINES = (Line(0.5, 2.0, "take the red star"), Line(2.0, 3.5, "and slide it"), Line(4, 5, "done"))


def seconds(stamp):
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def cues(vtt):
    found = re.findall(r"^(\S+) --> (\S+)(.*)\n(.*)\n(.*)\n", vtt, flags=re.MULTILINE)
    return [(seconds(a), seconds(b), place, upper, lower) for a, b, place, upper, lower in found]


def plain(text):
    return re.sub(r"<[^>]*>", "", text)


def test_every_spoken_line_comes_three_times_and_the_last_twice():
    rows = [plain(row) for cue in cues(asr_vtt(LINES, "en")) for row in cue[3:]]
    assert [rows.count(line.text) for line in LINES] == [3, 3, 2]
    assert set(rows) - {line.text for line in LINES} == {" "}


def test_long_and_ten_millisecond_cues_alternate_without_overlap():
    found = cues(asr_vtt(LINES, "en"))
    assert len(found) == 6
    assert all(place == " align:start position:0%" for _, _, place, _, _ in found)
    assert [round(b - a, 3) for a, b, *_ in found[1::2]] == [0.01] * 3
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    assert found[0][3] == " "
    assert found[2][3] == "take the red star"


def test_words_have_rising_times_within_their_line():
    cue = cues(asr_vtt(LINES, "en"))[0]
    assert cue[4].startswith("take<")
    assert re.findall(r"<c>( \w+)</c>", cue[4]) == [" the", " red", " star"]
    times = [seconds(stamp) for stamp in re.findall(r"<(\d[^>]*)>", cue[4])]
    assert [0.5, *times, 2.0] == sorted({0.5, *times, 2.0})


def test_plain_files_have_a_cue_a_line_and_say_their_language():
    text = plain_vtt((Line(3599.5, 3661.25, "&gt;&gt; hello"),), "en-GB")
    assert text == (
        "WEBVTT\nKind: captions\nLanguage: en-GB\n\n"
        "00:59:59.500 --> 01:01:01.250\n&gt;&gt; hello\n\n"
    )


def test_no_lines_make_an_empty_file():
    assert asr_vtt((), "en") == "WEBVTT\nKind: captions\nLanguage: en\n\n"
