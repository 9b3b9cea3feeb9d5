"""verbs.tsv, as the script makes it of WordNet's files."""

import sys
from pathlib import Path

import pytest

from howto100m.tasks import wordnet
from howto100m.tasks.verbs import HEADER, VERBS, read_verbs


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two verbs: "knit" (creation 3 times, contact never seen), "dream" (cognition, untagged)."""
    (tmp_path / "data.verb").write_text(
        "  1 a licence\n00000001 36 v 01 knit 0\n00000002 35 v 01 knit 1\n"
        "00000003 31 v 01 dream 0\n"
    )
    (tmp_path / "index.verb").write_text(
        "  1 a licence\nknit v 2 1 @ 2 1 00000001 00000002\ndream v 1 1 @ 1 0 00000003\n"
        "knit_up v 1 1 @ 1 0 00000001\n"
    )
    (tmp_path / "cntlist.rev").write_text(
        "knit%2:36:00:: 1 3\nknit%1:06:00:: 1 9\nother%2:36:00:: 1 4\n"
    )
    return tmp_path


def test_a_share_weighs_senses_by_how_often_they_occur(files: Path) -> None:
    classes = wordnet.senses(files)
    assert {verb: dict(found) for verb, found in classes.items()} == {
        "knit": {"creation": 3.2, "contact": 0.2},
        "dream": {"cognition": 0.2},
    }
    assert wordnet.row_of("knit", classes["knit"], "") == "knit\t1.00\tcreation 94%\tvisual\t"
    assert (
        wordnet.row_of("dream", classes["dream"], "visual")
        == "dream\t0.00\tcognition 100%\tvisual\tvisual"
    )
    assert wordnet.row_of("get rid", {}, "visual") == "get rid\t\t\tvisual\tvisual"


def test_a_rebuilt_file_keeps_the_reviews_and_can_be_read(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = files / "verbs.tsv"
    monkeypatch.setattr(sys, "argv", ["wordnet", str(files), "--output", str(output)])
    wordnet.main()
    rebuilt, shipped = read_verbs(output), read_verbs()
    reviewed = {name: verb.reviewed for name, verb in shipped.items() if verb.reviewed}
    assert {n: v.reviewed for n, v in rebuilt.items() if v.reviewed} == reviewed
    assert rebuilt["knit"].share == 1.0 and rebuilt["dream"].visual is False
    assert output.read_text().splitlines()[0].split("\t") == list(HEADER)


def test_the_shipped_file_is_sorted_and_each_row_is_there_once() -> None:
    names = [line.split("\t")[0] for line in VERBS.read_text().splitlines()[1:]]
    assert names == sorted(set(names))
