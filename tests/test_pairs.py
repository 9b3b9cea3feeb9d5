from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_tables import write_clips, write_features, write_vocabulary
from howto100m.embedding.data import PairShard
from howto100m.features.pairs import RATE_2D, RATE_3D, FeatureTable, grow, pair_clips, pool
from howto100m.kinds import ItemError, Kind, StageStopped, UserError
from howto100m.shards import read_table

STARTS = [0, 2, 3, 6, 9.5]
ENDS = [2.5, 3.5, 6, 9, 12]
LINES = [
    (0.0, 2.5, "one"),
    (2.0, 3.5, "two"),
    (3.0, 6.0, "three Three"),
    (6.0, 9.0, "four"),
    (9.5, 12.0, "five"),
]
WORDS = ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    ("index", "start", "end", "lines"),
    [
        (0, 0, 6, [0, 1, 2]),
        (1, 0, 6, [1, 0, 2]),
        (2, 0, 6, [2, 1, 0]),
        (3, 3, 9, [3, 2]),
        (4, 6, 12, [4, 3]),
    ],
)
def test_a_clip_grows_as_in_the_official_loader(index, start, end, lines):
    assert grow(STARTS, ENDS, [1] * 5, index, 5.0, 0) == (start, end, lines)


def test_growth_stops_at_the_whole_track():
    assert grow([0, 1], [1, 2], [1, 1], 1, 5.0, 0) == (0, 2, [1, 0])


def test_growth_by_words_alone_takes_the_neighbour_with_more_words():
    assert grow([0, 1, 2], [1, 2, 3], [1, 1, 2], 1, 0.0, 3) == (1, 3, [1, 2])
    assert grow([0, 1, 2], [1, 2, 3], [2, 1, 2], 1, 0.0, 3) == (0, 2, [1, 0])


def test_a_long_clip_with_words_enough_stays():
    assert grow([0, 5, 12], [5, 12, 13], [3, 3, 3], 1, 5.0, 3) == (5, 12, [1])


def test_pool_takes_rows_3_to_9_and_4_to_13_of_a_clip_from_3_to_9_seconds():
    rows = np.eye(20, 2048, dtype=np.float16)
    taken_2d = np.flatnonzero(pool(rows, RATE_2D, 3, 9))
    taken_3d = np.flatnonzero(pool(rows, RATE_3D, 3, 9))
    assert list(taken_2d) == list(range(3, 10))
    assert list(taken_3d) == list(range(4, 14))
    assert np.linalg.norm(pool(rows, RATE_3D, 3, 9)) == pytest.approx(1)


def test_pool_refuses_what_it_cannot_pool():
    with pytest.raises(ItemError) as beyond:
        pool(np.ones((5, 2048), np.float16), RATE_2D, 5.0, 9.0)
    assert beyond.value.kind is Kind.NO_FEATURES
    assert pool(np.ones((5, 2048), np.float16), RATE_2D, 4.99, 9.0).shape == (2048,)
    bad = np.ones((5, 2048), np.float16)
    bad[2, 7] = np.nan
    with pytest.raises(ItemError) as broken:
        pool(bad, RATE_2D, 1.0, 3.0)
    assert broken.value.kind is Kind.NOT_FINITE


@pytest.fixture
def world(tmp_path):
    random = np.random.default_rng(0)
    seconds = {"aaa": 12, "zzz": 4}
    rows_2d = {v: random.random((n, 2048), np.float32) for v, n in seconds.items()}
    rows_3d = {v: random.random((n * 3 // 2, 2048), np.float32) for v, n in seconds.items()}
    write_features(tmp_path / "2d.parquet", rows_2d, RATE_2D)
    write_features(tmp_path / "3d.parquet", rows_3d, RATE_3D)
    write_vocabulary(tmp_path / "words.parquet", WORDS)
    videos = {
        "zzz": [(0, 4, "one"), (100, 106, "two")],
        "aaa": LINES,
        "none": [(0, 6, "one")],
        "mute": [(0, 6, "unknown words")],
    }
    write_clips(tmp_path / "clips.parquet", videos)
    return tmp_path


def pair(folder: Path, max_words: int = 20, max_failed: float = 0.0) -> tuple[Path, Path]:
    output, status = folder / "pairs.parquet", folder / "pairs.status.parquet"
    pair_clips(
        folder / "clips.parquet",
        folder / "2d.parquet",
        folder / "3d.parquet",
        folder / "words.parquet",
        output,
        status,
        min_seconds=5.0,
        min_words=0,
        max_words=max_words,
        max_failed=max_failed,
    )
    return output, status


def test_pairs_hold_grown_clips_and_every_clip_has_an_outcome(world):
    output, status = pair(world)
    table = read_table(output)
    assert table["video_id"].to_pylist() == ["aaa"] * 5 + ["zzz"]
    assert table["clip"].to_pylist() == [0, 1, 2, 3, 4, 0]
    assert table["start"].to_pylist() == [0, 0, 0, 3, 6, 0]
    assert table["end"].to_pylist() == [6, 6, 6, 9, 12, 106]
    assert table["tokens"].to_pylist()[:4] == [[1, 2, 3], [2, 1, 3], [3, 2, 1], [4, 3]]
    outcomes = {row["id"]: row["kind"] for row in read_table(status).to_pylist()}
    assert outcomes == dict.fromkeys([f"aaa:{i}" for i in range(5)] + ["zzz:0"]) | {
        "zzz:1": "no_features",
        "none:0": "no_features",
        "mute:0": "no_words",
    }


def test_a_pair_is_the_maximum_of_its_seconds_each_half_normalised(world):
    row = read_table(pair(world)[0]).slice(3, 1).to_pylist()[0]
    stored = np.frombuffer(row["feature"], "<f2").astype(np.float32)
    rows = [FeatureTable.open(world / f"{k}.parquet").rows("aaa") for k in ("2d", "3d")]
    spans = (rows[0][3:10], rows[1][4:14])
    halves = [span.astype(np.float64).max(axis=0) for span in spans]
    expected = np.concatenate([half / np.linalg.norm(half) for half in halves])
    assert np.abs(stored - expected).max() < 2e-5


def test_the_cut_at_max_words_comes_after_unknown_words_are_dropped(world):
    write_clips(world / "clips.parquet", {"aaa": [(0, 9, "what one is two and three")]})
    assert read_table(pair(world, max_words=2)[0])["tokens"].to_pylist() == [[1, 2]]


def test_a_row_group_a_video_reads_back_through_the_memory_map(world):
    output, _ = pair(world)
    assert pq.ParquetFile(output).num_row_groups == 2
    shard = PairShard.open(output)
    mapped = b"".join(shard.features(v).tobytes() for v in range(2))
    assert mapped == b"".join(read_table(output)["feature"].to_pylist())
    assert shard.videos == ["aaa", "zzz"]
    assert shard.tokens(0, np.array([2, 3]), 2).tolist() == [[3, 2], [4, 3]]
    assert shard.tokens(1, np.array([0]), 4).tolist() == [[1, 2, 0, 0]]


def test_no_clips_give_an_empty_table(world):
    write_clips(world / "clips.parquet", {})
    output, status = pair(world)
    assert len(read_table(output)) == len(read_table(status)) == 0
    assert PairShard.open(output).videos == []


def test_broken_features_fail_their_clips_and_too_many_stop_the_stage(world):
    rows = np.ones((12, 2048), np.float32)
    rows[0] = np.inf
    write_features(world / "2d.parquet", {"aaa": rows}, RATE_2D)
    _, status = pair(world, max_failed=0.5)
    kinds = {row["id"]: row["kind"] for row in read_table(status).to_pylist()}
    assert kinds["aaa:0"] == "not_finite"
    assert kinds["aaa:3"] is None
    (world / "pairs.parquet").unlink()
    with pytest.raises(StageStopped, match="3 not_finite"):
        pair(world, max_failed=0.1)
    assert not (world / "pairs.parquet").exists()


def test_a_missing_feature_row_is_corrupt(world):
    table = read_table(world / "2d.parquet")
    pq.write_table(table.slice(1), world / "2d.parquet")
    with pytest.raises(ItemError) as error:
        FeatureTable.open(world / "2d.parquet").rows("aaa")
    assert error.value.kind is Kind.CORRUPT
    assert len(FeatureTable.open(world / "2d.parquet").rows("zzz")) == 4


def test_a_missing_or_damaged_feature_table_is_named(world):
    with pytest.raises(UserError, match="absent"):
        FeatureTable.open(world / "absent.parquet")
    (world / "bad.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match=r"bad\.parquet is damaged"):
        FeatureTable.open(world / "bad.parquet")
