"""docs/formats.md says of every table what tables.py has."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from howto100m import tables

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
