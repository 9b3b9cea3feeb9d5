"""docs/formats.md says of every table what tables.py has, and its snippets read the tables."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from howto100m import tables
from howto100m.shards import write_table

TEXT = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()


def documented(heading: str, number: int = 0) -> Iterator[tuple[str, bool]]:
    """The columns of a section's n-th table: name, and whether it may be null."""
    section = re.split(rf"^## {heading}.*$", TEXT, flags=re.MULTILINE)[1].split("\n## ")[0]
    table = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)[number]
    for line in table.splitlines()[2:]:
        for name in line.split("|")[1].split(","):
            yield name.strip().removesuffix("?"), name.strip().endswith("?")


@pytest.mark.parametrize(
    ("heading", "number", "schema"),
    [
        ("status", 0, tables.STATUS),
        ("tasks", 0, tables.TASKS),
        ("search", 0, tables.SEARCH),
        ("videos", 0, tables.VIDEOS),
        ("subtitles", 0, tables.SUBTITLES),
        ("clips", 0, tables.CLIPS),
        ("clips", 1, tables.CLIP_STATISTICS),
        ("captions", 0, tables.CAPTIONS),
        ("media", 0, tables.MEDIA),
        ("features", 0, tables.FEATURES),
        ("vocabulary", 0, tables.VOCABULARY),
        ("pairs", 0, tables.PAIRS),
        ("embedding", 0, tables.CURVE),
        ("index", 0, tables.INDEX),
        ("evaluation", 0, tables.METRICS),
        ("evaluation", 1, tables.RANKINGS),
        ("studies", 0, tables.STUDY),
    ],
)
def test_every_column_is_documented(heading: str, number: int, schema: pa.Schema) -> None:
    assert list(documented(heading, number)) == [(f.name, f.nullable) for f in schema]


def sections() -> Iterator[tuple[str, list[str]]]:
    """Headings, and the snippets below each."""
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        snippets = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        yield section.splitlines()[0], snippets


def test_every_table_is_read_in_three_ways() -> None:
    for heading, snippets in sections():
        assert len(snippets) == 1 + heading.startswith(("clips", "evaluation")), heading
        for snippet in snippets:
            assert re.search(r"\b(ds|pq)\.\w+\(", snippet), heading
            assert "duckdb.sql(" in snippet and "pd.read_parquet" in snippet, heading


KNOWN: dict[str, Any] = {
    "task_id": "1",
    "rank": 1,
    "video_id": "food0000001",
    "part": "",
    "metric": "R@10",
    "visual": True,
    "status": "failed",
    "error": None,
}


def a_value(name: str, kind: pa.DataType) -> Any:
    """Something that a column may hold."""
    if name in KNOWN:
        return KNOWN[name]
    if pa.types.is_dictionary(kind):
        return a_value(name, kind.value_type)
    if pa.types.is_struct(kind):
        return {field.name: a_value(field.name, field.type) for field in kind}
    if pa.types.is_list(kind):
        return [a_value("", kind.value_type)]
    if pa.types.is_fixed_size_binary(kind):
        return bytes(kind.byte_width)
    return "word" if pa.types.is_string(kind) else 1


def test_the_snippets_find_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them as one program, on a table of two rows each; every expression finds something."""
    for name, schema in {
        "subtitles/00000.status": tables.STATUS,
        "tasks/00000": tables.TASKS,
        "search/00000": tables.SEARCH,
        "videos/00000": tables.VIDEOS,
        "subtitles/00000": tables.SUBTITLES,
        "clips/00000": tables.CLIPS,
        "clips/00000.statistics": tables.CLIP_STATISTICS,
        "captions/00000": tables.CAPTIONS,
        "media/00000": tables.MEDIA,
        "features/2d/00000": tables.FEATURES,
        "vocabulary/vocabulary": tables.VOCABULARY,
        "pairs/00000": tables.PAIRS,
        "embedding/max_margin-1.curve": tables.CURVE,
        "index/clips": tables.INDEX,
        "evaluation/metrics": tables.METRICS,
        "evaluation/sample_clips/max_margin-1.rankings": tables.RANKINGS,
        "studies/scale": tables.STUDY,
    }.items():
        row = {field.name: a_value(field.name, field.type) for field in schema}
        write_table(tmp_path / "results" / f"{name}.parquet", [row, row], schema)
    np.ones((2, 4), "<f2").tofile(tmp_path / "results/index/vectors.f16")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    imports = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)[0]
    for snippet in [imports, *(s for _, snippets in sections() for s in snippets)]:
        for statement in ast.parse(snippet).body:
            said = ast.unparse(statement)
            if isinstance(statement, ast.Expr):
                assert len(eval(said, names)), said
            else:
                exec(said, names)
