"""Validation: sound tables pass, and each way of breaking them is named with its path."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from feature_tables import write_features
from howto100m import tables
from howto100m.cli import app
from howto100m.cut import keep_cut
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.shards import (
    Outcome,
    read_table,
    shard_of,
    shard_path,
    status_path,
    write_shard,
    write_status,
    write_table,
)
from howto100m.validate import validate

SHARDS = 2
VIDEOS = [f"video{i:06d}" for i in range(8)]


def clip(video_id: str, number: int) -> dict[str, object]:
    start = 2.0 * number
    return {
        "video_id": video_id,
        "clip": number,
        "start": start,
        "end": start + 2,
        "text": "cut onion",
        "raw_text": "cut the onion",
    }


def medium(video_id: str) -> dict[str, object]:
    facts = {"path": f"media/{video_id}.mp4", "bytes": 9, "sha256": "0" * 64}
    return {"video_id": video_id} | facts | {"width": 320, "height": 240, "duration": 5.0}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for shard in range(SHARDS):
        mine = [v for v in VIDEOS if shard_of(v, SHARDS) == shard]
        good, lost = mine[:-1], mine[-1]
        outcomes = [Outcome(v) for v in good]
        gone = Outcome.of(lost, ItemError(Kind.CORRUPT, "no stream"))
        rows = [clip(v, n) for v in good for n in range(3)]
        write_shard(shard_path(tmp_path / "clips", shard), rows, tables.CLIPS, [*outcomes, gone])
        media = shard_path(tmp_path / "media", shard)
        write_shard(media, map(medium, good), tables.MEDIA, [*outcomes, gone])
        path = shard_path(tmp_path / "features", shard)
        write_status(status_path(path), outcomes)
        for rate, name in ((1.0, "2d"), (1.5, "3d")):
            rows_of = {v: np.ones((int(5 * rate), 2048)) for v in good}
            write_features(tmp_path / "features" / name / path.name, rows_of, rate)
    return tmp_path


@pytest.fixture
def sound(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("howto100m.validate.count_stages", lambda _: [])
    return results


def test_sound_tables_have_no_fault(sound: Path) -> None:
    assert list(validate(sound)) == []


def test_a_folder_without_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no stage's tables"):
        list(validate(tmp_path))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def swap_two_rows(path: Path) -> None:
    change(path, lambda table: table.take([1, 0, *range(2, len(table))]))


def lose_a_clip(path: Path) -> None:
    change(path, lambda table: table.slice(1))


def drop_status(path: Path) -> None:
    status_path(path).unlink()


def change(path: Path, edit: Callable[[pa.Table], pa.Table]) -> None:
    write_table(path, edit(read_table(path)), tables.CLIPS)


def double_a_row(path: Path) -> None:
    change(path, lambda table: pa.concat_tables([table, table.slice(0, 1)]))


def lose_a_video(path: Path) -> None:
    first = read_table(path)["video_id"][0]
    change(path, lambda table: table.filter(pc.not_equal(table["video_id"], first)))


def end_before_the_start(path: Path) -> None:
    change(path, lambda table: table.set_column(3, table.schema.field("end"), table["start"]))


def drop_a_column(path: Path) -> None:
    table = read_table(path).drop_columns(["raw_text"])
    write_table(path, table, table.schema)


def forget_an_outcome(path: Path) -> None:
    outcomes = [Outcome(v) for v in read_table(path)["video_id"].unique().to_pylist()]
    write_status(status_path(path), outcomes[1:])


def count_an_item_twice(path: Path) -> None:
    outcomes = [Outcome(v) for v in read_table(path)["video_id"].unique().to_pylist()]
    write_status(status_path(path), [*outcomes, outcomes[0]])


def fail_without_a_kind(path: Path) -> None:
    outcomes = [Outcome(v) for v in read_table(path)["video_id"].unique().to_pylist()]
    odd = replace(Outcome.of("x", ItemError(Kind.BUG)), kind=None)
    write_status(status_path(path), [*outcomes, odd])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_short, "clips/00001.parquet: no whole Parquet file"),
        (turn_a_bit, "clips/00001.parquet: no whole Parquet file"),
        (swap_two_rows, "clips/00001.parquet: row 1 is out of order"),
        (lose_a_clip, "clips/00001.parquet: {first}: clip does not count its rows from 0"),
        (drop_status, "clips/00001.status.parquet: missing beside"),
        (double_a_row, "clips/00001.parquet: 2 rows have"),
        (lose_a_video, "clips/00001.parquet: 1 items are ok and have no row"),
        (end_before_the_start, "clips/00001.parquet: 9 rows are impossible"),
        (drop_a_column, "clips/00001.parquet: columns are video_id"),
        (forget_an_outcome, "clips/00001.parquet: 1 items have rows and are not ok"),
        (count_an_item_twice, "clips/00001.status.parquet: 1 items have two rows"),
        (fail_without_a_kind, "clips/00001.status.parquet: item x is ok and has a kind, or"),
    ],
)
def test_each_damage_is_named_with_its_path(
    sound: Path, damage: Callable[[Path], None], says: str
) -> None:
    path = shard_path(sound / "clips", 1)
    says = says.format(first=read_table(path)["video_id"][0])
    damage(path)
    faults = list(validate(sound))
    assert any(line.startswith(f"{sound}/{says}") for line in faults), faults


def test_a_missing_shard_is_named_by_the_number_noted_at_the_start(sound: Path) -> None:
    keep_cut(sound, {"tasks": 1, "videos": SHARDS + 1})
    lines = list(validate(sound))
    assert f"{sound}/clips: 1 of 3 shards are missing, the first 00002: run snakemake" in lines


def test_a_table_of_an_older_cut_is_named(sound: Path) -> None:
    keep_cut(sound, {"tasks": 1, "videos": SHARDS})
    write_shard(shard_path(sound / "clips", 7), [], tables.CLIPS, [])
    lines = list(validate(sound))
    assert f"{sound}/clips/00007.parquet: belongs to another cut than that into 2 shards" in (
        line.partition(": delete")[0] for line in lines
    )


def test_a_video_file_that_changed_or_went_too_early_is_named(sound: Path) -> None:
    rows = read_table(sound / "media" / "00000.parquet").to_pylist()
    (sound.parent / "media").mkdir(exist_ok=True)
    file = sound.parent / rows[0]["path"]
    file.write_bytes(b"8 bytes.")
    assert any(line.startswith(f"{file}: 8 bytes, 9 are noted") for line in validate(sound))
    file.write_bytes(b"9 bytes..")
    assert list(validate(sound)) == []
    for path in sound.glob("features/**/*.parquet"):
        path.unlink()
    gone = sound.parent / rows[1]["path"]
    assert any(line.startswith(f"{gone}: gone before its features") for line in validate(sound))


@pytest.mark.parametrize(
    ("name", "schema", "row"),
    [
        (
            "clips/00000.statistics.parquet",
            tables.CLIP_STATISTICS,
            {"video_id": "v", "seconds": 1.0, "words": 1, "cut": 0, "backward": 0}
            | {"lines": 3, "clips": 1, "empty": 1, "outside": 0},
        ),
        (
            "embedding/run-1.curve.parquet",
            tables.CURVE,
            {"run": "r", "epoch": 1, "step": 1, "rate": 1.0, "seconds": 1.0, "loss": float("nan")},
        ),
        (
            "studies/loss/a=1-1.curve.parquet",
            tables.CURVE,
            {"run": "r", "epoch": 1, "step": 0, "rate": 1.0, "seconds": 1.0, "loss": 1.0},
        ),
        (
            "studies/loss.parquet",
            tables.STUDY,
            {"study": "loss", "setting": "a=1", "seed": 1, "videos": 2, "benchmark": "b"}
            | {"metric": "R@1", "value": float("nan"), "chance": 0.1, "protocol": ""}
            | {"items": 1, "missing": 0},
        ),
        (
            "studies/loss/b/a=1-1.metrics.parquet",
            tables.METRICS,
            {"run": "a=1-1", "benchmark": "b", "part": "", "metric": "R@1", "value": -0.1}
            | {"chance": 0.1, "protocol": "", "items": 1, "missing": 0},
        ),
        (
            "studies/loss/b/a=1-1.rankings.parquet",
            tables.RANKINGS,
            {"run": "a=1-1", "benchmark": "b", "query": "q", "text": "t", "target": "v"}
            | {"rank": 0.5, "hits": []},
        ),
        (
            "studies/targets/b/0.5/pairs.parquet",
            tables.PAIRS,
            {"video_id": "v", "clip": 0, "start": 0.0, "end": 0.0, "tokens": []}
            | {"feature": bytes(8192)},
        ),
        (
            "index/clips.parquet",
            tables.INDEX,
            {"video_id": "v", "clip": 0, "start": 2.0, "end": 1.0}
            | dict.fromkeys(("text", "title", "category_1", "path"), ""),
        ),
    ],
)
def test_impossible_figures_are_named(
    sound: Path, name: str, schema: pa.Schema, row: dict[str, object]
) -> None:
    write_table(sound / name, [row], schema)
    assert any(
        line.startswith(f"{sound}/{name}: 1 rows are impossible") for line in validate(sound)
    )
    write_table(sound / name, [], tables.STATUS)
    assert any(line.startswith(f"{sound}/{name}: columns are id") for line in validate(sound))
    (sound / name).write_bytes(b"PAR1")
    assert any(line.startswith(f"{sound}/{name}: no whole Parquet") for line in validate(sound))


def test_an_index_that_lost_clips_or_vectors_is_named(sound: Path) -> None:
    folder = sound / "index"
    row = {"video_id": "v", "clip": 0, "start": 0.0, "end": 1.0}
    row |= dict.fromkeys(("text", "title", "category_1", "path"), "")
    write_table(folder / "clips.parquet", [row], tables.INDEX)
    (folder / "vectors.f16").write_bytes(bytes(16))
    (folder / "index.json").write_text('{"clips": 1, "dim": 8}')
    assert list(validate(sound)) == []
    (folder / "vectors.f16").write_bytes(bytes(14))
    assert any(f"{folder}/vectors.f16: 14 bytes do not" in line for line in validate(sound))
    (folder / "clips.parquet").unlink()
    assert any(f"{folder}/clips.parquet: 0 rows, 1 are" in line for line in validate(sound))


def test_another_number_of_shards_is_named(sound: Path) -> None:
    path = shard_path(sound / "clips", 2)
    write_shard(path, [], tables.CLIPS, [])
    assert any("belongs to another of 3 shards" in line for line in validate(sound))


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.full((5, 2048), np.nan), "feature of row 0 has a NaN"),
        (np.ones((12, 2048)), "has 12 vectors, 5.0 are due"),
    ],
)
def test_vectors_must_be_numbers_and_fit_the_duration(
    sound: Path, vectors: np.ndarray, says: str
) -> None:
    path = sound / "features" / "2d" / "00000.parquet"
    videos = dict.fromkeys(read_table(path)["video_id"].unique().to_pylist(), vectors)
    write_features(path, videos, 1.0)
    table = read_table(path).replace_schema_metadata({"rate": "1"})
    write_table(path, table, table.schema)
    assert any(says in line for line in validate(sound))


def test_the_command_prints_the_faults_and_exits_with_1(sound: Path) -> None:
    run = CliRunner().invoke(app, ["validate", "--results", str(sound)])
    assert (run.exit_code, run.output.count("\n")) == (0, 1)
    cut_short(shard_path(sound / "clips", 0))
    run = CliRunner().invoke(app, ["validate", "--results", str(sound)])
    assert run.exit_code == 1
    assert "clips/00000.parquet: no whole Parquet file" in run.output


def test_items_that_the_stage_before_did_not_send_are_named(results: Path) -> None:
    path = results / "media" / "00000.parquet"
    rows = read_table(path)
    ids = rows["video_id"].to_pylist()
    write_shard(path, rows.slice(1), tables.MEDIA, [Outcome(v) for v in ids[1:]])
    (results / "clips").rename(results / "other")
    assert any("features: 6 items in, 5 sent on" in line for line in validate(results))
