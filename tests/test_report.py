"""The report: what it reads from the tables."""

from pathlib import Path

from howto100m import tables
from howto100m.report import facts
from howto100m.shards import shard_path, write_table


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
