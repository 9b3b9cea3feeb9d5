"""What the report adds to the tables: what sentences find, times, the datasheet."""

from pathlib import Path

import pytest
import yaml

from howto100m import tables
from howto100m.config import resolve
from howto100m.find.index import index_clips
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.report.page import write_datasheet, write_report
from howto100m.report.retrieval import answers
from howto100m.report.times import Time, times
from howto100m.shards import Outcome, write_status, write_table
from search_index import SHARDS, write_results
from test_features_decode import encode, numbered
from test_report import results as results

SETTINGS = resolve(yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text()))


def test_sentences_show_their_best_clips_with_pictures_where_there_are_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = encode(tmp_path / "food0000001.mp4", numbered(14 * 25))
    found = write_results(tmp_path / "results", SHARDS, {"food0000001": video})
    assert answers(found, []) == []
    with pytest.raises(UserError, match="holds no index"):
        answers(found, ["onion"])
    index_clips(found, found / "embedding/max_margin-1.pth", found / "index", max_words=20)
    (onion,) = answers(found, ["zebra", "cut the onion"])
    assert "no word of 'zebra'" in caplog.text
    assert onion.query == "cut the onion" and len(onion.seen) == 4
    first, second = onion.seen[:2]
    assert (first.clip.video_id, first.clip.clip) == ("food0000001", 1)
    assert first.picture.startswith("data:image/jpeg;base64,")
    assert second.clip.video_id == "food0000002" and second.picture == ""


def test_times_add_up_over_shards(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        write_status(
            tmp_path / f"features/{shard}.status.parquet",
            [
                Outcome("a", seconds=3600.0),
                Outcome.of("b", ItemError(Kind.CORRUPT), seconds=30.5),
            ],
        )
    assert times(tmp_path) == [Time("features", 4, 7261.0)]
    assert times(tmp_path)[0].clock == "2:01:01"


def test_the_datasheet_is_filled_from_the_tables(results: Path, tmp_path: Path) -> None:
    write_datasheet(results, tmp_path / "DATASHEET.md", SETTINGS)
    text = (tmp_path / "DATASHEET.md").read_text()
    assert "12 clips of 3 videos" in text and "| Health | 3 | 2 | 6 |" in text
    assert "| clips | 4 | 3 | 1 | 0 | 1 evaluation_video |" in text
    assert "1 videos left the training pool" in text
    assert "{{" not in text and "&#" not in text
    assert "results of a search" in text and "All sites are stand-ins" in text
    write_datasheet(results, tmp_path / "DATASHEET.md", SETTINGS | {"source": "howto100m"})
    released = (tmp_path / "DATASHEET.md").read_text()
    assert "files of the HowTo100M release" in released and "WikiHow's API" not in released
    for part in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses"):
        assert f"## {part}" in text


def test_the_page_is_written_without_settings(results: Path, tmp_path: Path) -> None:
    write_table(results / "evaluation/metrics.parquet", [], tables.METRICS)
    write_table(results / "embedding/a.curve.parquet", [], tables.CURVE)
    write_report(results, tmp_path / "report.html", {})
    page = (tmp_path / "report.html").read_text()
    assert "evaluation_video" in page and "<pre>{}</pre>" in page
