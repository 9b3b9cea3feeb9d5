"""The official release's files in and out: lists, captions, vectors; the way there and back."""

import io
import json
import math
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_tables import write_features
from howto100m import tables
from howto100m.features.pairs import RATE_2D, RATE_3D, FeatureTable
from howto100m.kinds import ItemError, Kind, StageStopped, UserError
from howto100m.release.captions import cut_captions, import_captions
from howto100m.release.export import export_arrays, export_release, export_webdataset
from howto100m.release.listing import import_videos
from howto100m.release.stream import stream_object
from howto100m.release.vectors import import_vectors, read_vectors
from howto100m.report.counts import count_stages
from howto100m.shards import Row, read_table, shard_of, shard_path, status_path, write_table
from howto100m.tasks.lists import read_official
from howto100m.videos.select import Limits

ALL = Limits(max_rank=200, min_views=100, max_duration=2000)
V1 = """video_id,category_1,category_2,rank,task_id
nVbIUDjzWY4,Cars & Other Vehicles,Motorcycles,27,52907
aaaaaaaaaaa,Food and Entertaining,,201,7
bbbbbbbbbbb,Food and Entertaining,"Drinks, Hot",3,7
nVbIUDjzWY4,Hobbies and Crafts,,4,9
"""


def status(table: Path) -> dict[str, tuple[str | None, str]]:
    rows = read_table(status_path(table)).to_pylist()
    return {row["id"]: (row["kind"], row["message"]) for row in rows}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_releases_list_becomes_the_videos_table(tmp_path: Path, mark: str) -> None:
    (tmp_path / "v1.csv").write_text(mark + V1.replace("\n", "\r\n"), newline="")
    import_videos(tmp_path / "v1.csv", tmp_path / "videos", 2, ALL)
    rows = {}
    for shard in range(2):
        path = shard_path(tmp_path / "videos", shard)
        assert read_table(path).schema.equals(tables.VIDEOS)
        for row in read_table(path).to_pylist():
            assert shard_of(row["video_id"], 2) == shard
            rows[row["video_id"]] = row
    assert sorted(rows) == ["bbbbbbbbbbb", "nVbIUDjzWY4"]
    best = rows["nVbIUDjzWY4"]
    assert (best["task_id"], best["rank"], best["category_1"]) == ("9", 4, "Hobbies and Crafts")
    assert best["tasks"] == [{"task_id": "9", "rank": 4}, {"task_id": "52907", "rank": 27}]
    assert best["views"] is None and best["duration"] is None
    assert rows["bbbbbbbbbbb"]["category_2"] == "Drinks, Hot"
    refused = status(shard_path(tmp_path / "videos", shard_of("aaaaaaaaaaa", 2)))["aaaaaaaaaaa"]
    assert refused == ("rank", "best rank 201")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,rank\na,1\n", "has no column category_1, category_2, task_id"),
        (V1 + "ccccccccccc,Health,,first,7\n", "line 6: invalid literal"),
        (V1 + "ccccccccccc,Health\n", "line 6"),
        (V1 + ",Health,,1,7\n", "line 6: a video needs video_id"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "v1.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        import_videos(tmp_path / "v1.csv", tmp_path / "videos", 1, ALL)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUES = st.dictionaries(st.text(), st.lists(JSON, max_size=4), max_size=5)


@settings(deadline=None, max_examples=80)
@given(VALUES, st.integers(1, 40), st.sampled_from([None, 1]))
def test_an_object_streams_member_by_member_whatever_the_pieces(
    value: dict[str, Any], chunk: int, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent)
    assert dict(stream_object(io.StringIO(text), chunk)) == value


def test_what_pandas_writes_for_an_empty_caption_is_read() -> None:
    ((_, value),) = stream_object(io.StringIO('{"v": {"text": ["x", NaN]}}'), 3)
    assert value["text"][0] == "x" and math.isnan(value["text"][1])


@pytest.mark.parametrize("text", ["", "[1]", '{"a": [1}', '{"a": [1]', '{"a" [1]}', '{"a": tru}'])
def test_a_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="near sign"):
        list(stream_object(io.StringIO(text), 2))


def test_memory_does_not_grow_with_the_file() -> None:
    def peak(videos: int) -> int:
        line = json.dumps({"start": [1.0] * 100, "end": [2.0] * 100, "text": ["fold it"] * 100})
        file = io.StringIO("{" + ",".join(f'"v{i}": {line}' for i in range(videos)) + "}")
        tracemalloc.start()
        assert sum(1 for _ in stream_object(file, 1 << 14)) == videos
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(2000) < 1.5 * peak(100)


def lines(*given: tuple[float, float, Any]) -> dict[str, list[Any]]:
    return {name: [line[i] for line in given] for i, name in enumerate(("start", "end", "text"))}


def cut(folder: Path, clean: Any, raw: Any, videos: Sequence[str], **options: Any) -> Path:
    """The clips of a release of one shard; `clean` and `raw` are the two JSON files' content."""
    paths = []
    for name, content in (("caption", clean), ("raw_caption", raw)):
        (folder / f"{name}.json").write_text(json.dumps(content))
        paths.append(folder / f"{name}.json" if content is not None else None)
    import_captions(*paths, folder / "captions", 1)
    (folder / "v1.csv").write_text(
        V1.splitlines()[0] + "".join(f"\n{v},Health,,1,7" for v in videos)
    )
    import_videos(folder / "v1.csv", folder / "videos", 1, ALL)
    shard = "00000.parquet"
    output = folder / "clips" / shard
    options = {"excluded": frozenset(), "max_failed": 1.0} | options
    cut_captions(folder / "captions" / shard, folder / "videos" / shard, output, **options)
    return output


def test_clean_and_raw_captions_meet_by_their_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean = {
        "a": lines((0, 1.5, "fold paper"), (2.0, 3.0, math.nan), (3.0, 4.0, "cut"), (5, 5, "no")),
        "b": lines((0, 1, "glue")),
        "unlisted": lines((0, 1, "glue")),
    }
    raw = {"a": lines((0, 1.5, "now fold the paper"), (3.5, 4.0, "late"), (2.0, 3.0, "so um"))}
    output = cut(tmp_path, clean, raw, ["b", "a", "c"])
    rows = read_table(output).to_pylist()
    assert [(r["video_id"], r["clip"], r["start"], r["text"], r["raw_text"]) for r in rows] == [
        ("a", 0, 0.0, "fold paper", "now fold the paper"),
        ("a", 1, 3.0, "cut", "cut"),
        ("b", 0, 0.0, "glue", "glue"),
    ]
    assert "2 lines have no raw line" in caplog.text
    assert status(output)["c"] == ("no_subtitles", "the release has no captions of it")
    counted = read_table(output.with_suffix(".statistics.parquet")).to_pylist()[0]
    assert [counted[name] for name in ("lines", "clips", "empty", "backward")] == [3, 2, 1, 1]


def test_raw_captions_alone_are_cleaned_and_clean_ones_alone_stand_for_both(tmp_path: Path) -> None:
    both = {"a": lines((0, 1.5, "[Music] now Fold the Paper"))}
    for clean, raw, text in ((None, both, "fold paper"), (both, None, both["a"]["text"][0])):
        (row,) = read_table(cut(tmp_path, clean, raw, ["a"])).to_pylist()
        assert (row["text"], row["raw_text"]) == (text, both["a"]["text"][0])


def test_one_videos_broken_captions_fail_that_video_alone(tmp_path: Path) -> None:
    clean: dict[str, Any] = {
        "a": lines((0, 1, "fold")),
        "b": {"start": [0, 1], "end": [1], "text": ["x", "y"]},
        "c": {"start": [0], "text": ["x"]},
        "d": lines((0, math.inf, "x")),
        "e": ["x"],
    }
    output = cut(tmp_path, clean, None, sorted(clean))
    found = status(output)
    assert found["a"] == (None, "")
    assert found["b"] == ("malformed", "its columns are not of one length: 2 start, 1 end, 2 text")
    assert found["c"][1].startswith("no start, end and text: KeyError 'end'")
    assert found["d"] == ("malformed", "line 0 lasts from 0.0 to inf")
    assert found["e"][0] == "malformed"
    with pytest.raises(StageStopped, match="4 malformed"):
        cut(tmp_path, clean, None, sorted(clean), max_failed=0.5)


def test_benchmarks_videos_leave_the_releases_training_pool_too(tmp_path: Path) -> None:
    clean = {v: lines((0, 1, "fold")) for v in "ab"}
    output = cut(tmp_path, clean, None, ["a", "b"], excluded=frozenset("b"))
    assert status(output)["b"][0] == "evaluation_video"


def test_a_csv_a_video_is_read_as_the_json(tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    folder.mkdir()
    (folder / "a.csv").write_text(
        "start,end,text\n0.0,6.0,evening stroll\n6.14,8.92,'eats '\n7,8,\n"
    )
    (folder / "b.csv").write_text("start,end,text\nnow,1,x\n")
    import_captions(folder, None, tmp_path / "captions", 1)
    a, b = read_table(tmp_path / "captions" / "00000.parquet").to_pylist()
    assert (a["start"], a["end"]) == ([0.0, 6.14, 7.0], [6.0, 8.92, 8.0])
    assert a["text"] == ["evening stroll", "'eats '".strip(), ""]
    assert b["error"] == "line 2 of b.csv has no start and end"


def test_captions_that_are_no_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "caption.json").write_text('{"a": {"start": [0], "end"')
    with pytest.raises(UserError, match=r"caption\.json is not the release's JSON"):
        import_captions(tmp_path / "caption.json", None, tmp_path / "captions", 1)
    with pytest.raises(UserError, match="neither a file nor a folder"):
        import_captions(tmp_path / "absent", None, tmp_path / "captions", 1)
    assert not list((tmp_path / "captions").glob("*.parquet"))


def make_results(folder: Path, shards: int = 2) -> Path:
    """Videos, clips, tasks and features as the line makes them, some words' times among them."""
    random = np.random.default_rng(0)
    videos: dict[int, list[Row]] = {shard: [] for shard in range(shards)}
    clips: dict[int, list[Row]] = {shard: [] for shard in range(shards)}
    for video_id in sorted(f"video{i:06}" for i in range(7)):
        shard = shard_of(video_id, shards)
        tasks = [{"task_id": "7", "rank": 2}, {"task_id": "9", "rank": 40}]
        videos[shard].append(
            {"video_id": video_id, "task_id": "7", "rank": 2, "tasks": tasks}
            | {"category_1": "Cars & Other Vehicles", "category_2": "", "title": 'A, "b"\n'.strip()}
            | {"channel": "é", "views": None if shard else 123, "duration": 61.25}
        )
        for clip in range(3 if video_id.endswith("6") else 4):
            start = clip * 7 + round(float(random.random()), 3)
            timed = shard == 0 and clip != 1
            clips[shard].append(
                {"video_id": video_id, "clip": clip, "start": start, "end": start + 2.345}
                | {"text": f"fold paper {clip}", "raw_text": f"now, fold “paper” {clip}"}
                | {"word_starts": [start, start + 0.25] if timed else None}
            )
    for shard in range(shards):
        write_table(shard_path(folder / "videos", shard), videos[shard], tables.VIDEOS)
        write_table(shard_path(folder / "clips", shard), clips[shard], tables.CLIPS)
        ids = [v["video_id"] for v in videos[shard]]
        for network, rate in (("2d", RATE_2D), ("3d", RATE_3D)):
            rows = {v: random.random((3, 2048), np.float32) for v in ids}
            path = shard_path(folder / "features" / network, shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_features(path, rows, rate)
    task = {"task_id": "7", "title": "Fold Paper", "category_1": "", "category_2": ""}
    rows = [task | {"verb": "fold", "visual": True, "reason": ""}]
    rows.append(task | {"task_id": "8", "verb": "be", "visual": False, "reason": ""})
    write_table(shard_path(folder / "tasks", 0), rows, tables.TASKS)
    return folder


def test_export_then_import_gives_equal_tables(tmp_path: Path) -> None:
    results, out, back = make_results(tmp_path / "results"), tmp_path / "out", tmp_path / "back"
    export_release(results, out)
    export_arrays(results, out, normalise=False)
    import_videos(out / "videos.csv", back / "videos", 2, ALL)
    import_captions(out / "caption.json", out / "raw_caption.json", back / "captions", 2)
    for shard in range(2):
        videos = shard_path(back / "videos", shard)
        cut_captions(
            shard_path(back / "captions", shard),
            videos,
            shard_path(back / "clips", shard),
            excluded=frozenset(),
            max_failed=0.0,
        )
        outputs = {n: shard_path(back / "features" / n, shard) for n in ("2d", "3d")}
        folders = {n: out / f"features_{n}" for n in ("2d", "3d")}
        import_vectors(videos, folders, outputs, back / "status.parquet", 0.0)
        for stage in ("videos", "clips", "features/2d", "features/3d"):
            before, after = (read_table(shard_path(f / stage, shard)) for f in (results, back))
            assert after.num_rows and after.equals(before), stage


def test_the_releases_own_columns_come_back_from_its_own_files(tmp_path: Path) -> None:
    results, out = make_results(tmp_path / "results"), tmp_path / "out"
    export_release(results, out)
    assert (out / "HowTo100M_v1.csv").read_text().splitlines()[0] == V1.splitlines()[0]
    import_videos(out / "HowTo100M_v1.csv", tmp_path / "videos", 2, ALL)
    own = ["video_id", "task_id", "rank", "category_1", "category_2"]
    for shard in range(2):
        before, after = (
            read_table(shard_path(f, shard), own) for f in (results / "videos", tmp_path / "videos")
        )
        assert after.equals(before)
    titles = read_official(out / "HowTo100M_v1.csv", out / "task_ids.csv").entries
    assert {task: entry.title for task, entry in titles.items()} == {"7": "Fold Paper"}
    import_captions(out / "captions", None, tmp_path / "by_csv", 2)
    import_captions(out / "caption.json", None, tmp_path / "by_json", 2)
    for shard in range(2):
        by_csv, by_json = (shard_path(tmp_path / f, shard) for f in ("by_csv", "by_json"))
        assert read_table(by_csv).equals(read_table(by_json))


def test_the_pickle_is_the_plain_dictionary_that_the_official_code_loads(tmp_path: Path) -> None:
    export_release(make_results(tmp_path / "results"), tmp_path / "out")
    loaded = pickle.loads((tmp_path / "out" / "caption.pickle").read_bytes())
    assert type(loaded) is dict and len(loaded) == 7
    assert loaded == json.loads((tmp_path / "out" / "caption.json").read_text())
    assert list(loaded["video000000"]) == ["start", "end", "text"]
    train = (tmp_path / "out" / "HowTo100M_train.csv").read_text().splitlines()
    assert train[0] == "video_id,category_1,category_2,rank,task_id,task,path"
    assert train[1].endswith(",2,7,7,video" + train[1][5:11] + ".npy")


def test_a_tar_holds_a_videos_files_under_its_id(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results")
    (tmp_path / "a.webm").write_bytes(b"film")
    first = read_table(shard_path(results / "clips", 0))["video_id"][0].as_py()
    media = {"video_id": first, "path": str(tmp_path / "a.webm"), "bytes": 4, "sha256": ""}
    media |= {"width": 1, "height": 1, "duration": 1.0}
    write_table(shard_path(results / "media", 0), [media], tables.MEDIA)
    export_webdataset(results, tmp_path / "out", normalise=True)
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        names = tar.getnames()
        parts = {name: (tar.extractfile(name) or io.BytesIO()).read() for name in names}
    assert names[:4] == [f"{first}.{e}" for e in ("json", "2d.npy", "3d.npy", "webm")]
    told = json.loads(parts[f"{first}.json"])
    assert told["category_1"] == "Cars & Other Vehicles" and len(told["raw_text"]) == 4
    vectors = np.load(io.BytesIO(parts[f"{first}.2d.npy"]))
    assert vectors.dtype == "<f2" and vectors.shape == (3, 2048)
    assert np.linalg.norm(vectors.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-3)
    assert parts[f"{first}.webm"] == b"film"
    before = (tmp_path / "out" / "00000.tar").read_bytes()
    export_webdataset(results, tmp_path / "out", normalise=True)
    assert (tmp_path / "out" / "00000.tar").read_bytes() == before


@pytest.mark.parametrize("name", ["v.npy", "v.mp4.npy", "v.webm.npy"])
def test_vectors_of_others_are_found_under_their_names(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / name, np.ones((5, 1024), np.float32))
    assert read_vectors(tmp_path, "v", 1024).dtype == np.float16
    np.save(tmp_path / name, np.ones(1024, np.float16))
    assert read_vectors(tmp_path, "v", 1024).shape == (1, 1024)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.ones((5, 512), np.float32), Kind.CORRUPT),
        (np.ones((0, 1024), np.float32), Kind.CORRUPT),
        (np.ones((5, 1024), np.int64), Kind.CORRUPT),
        (np.ones((2, 5, 1024), np.float32), Kind.CORRUPT),
        (np.full((5, 1024), 1e9, np.float32), Kind.NOT_FINITE),
        (np.array([{"a": 1}], object), Kind.CORRUPT),
    ],
)
def test_files_that_hold_no_such_vectors_are_refused(
    tmp_path: Path, array: np.ndarray, kind: Kind
) -> None:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(ItemError) as caught:
        read_vectors(tmp_path, "v", 1024)
    assert caught.value.kind is kind


def test_a_video_without_one_of_its_files_is_in_no_table(tmp_path: Path) -> None:
    (tmp_path / "v1.csv").write_text(V1)
    import_videos(tmp_path / "v1.csv", tmp_path / "videos", 1, ALL)
    for network, dim, ids in (
        ("s3d", 1024, ("bbbbbbbbbbb", "nVbIUDjzWY4")),
        ("2d", 2048, ("bbbbbbbbbbb",)),
    ):
        (tmp_path / network).mkdir()
        for video_id in ids:
            np.save(tmp_path / network / f"{video_id}.mp4.npy", np.ones((4, dim), np.float16))
    folders = {network: tmp_path / network for network in ("s3d", "2d")}
    outputs = {network: tmp_path / f"{network}.parquet" for network in folders}
    state = tmp_path / "features.status.parquet"
    import_vectors(tmp_path / "videos" / "00000.parquet", folders, outputs, state, 0.0)
    s3d = read_table(outputs["s3d"])
    assert s3d.schema.equals(tables.FEATURES_S3D)
    assert s3d["video_id"].to_pylist() == ["bbbbbbbbbbb"] * 4
    assert FeatureTable.open(outputs["2d"]).rows("bbbbbbbbbbb").shape == (4, 2048)
    assert [s["kind"] for s in read_table(state).to_pylist()] == [None, "no_features"]
    with pytest.raises(UserError, match="no folder"):
        import_vectors(
            tmp_path / "videos" / "00000.parquet", {"2d": tmp_path / "absent"}, outputs, state, 0.0
        )


ROOT = Path(__file__).parents[1]


def workflow(folder: Path, *arguments: str, **sections: Any) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder` on the release that lies there, in two shards."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"source": "howto100m", "shards": {"tasks": 1, "videos": 2}}
    config["vocabulary"]["vectors"] = "train"
    for name, section in sections.items():
        config[name] |= section
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", "none", "--workflow-profile", ROOT / "profiles" / "default"]
    command += ["--cores", "2", "--directory", folder, *arguments]
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.heavy
def test_the_line_runs_from_the_release_to_the_pairs_without_any_site(tmp_path: Path) -> None:
    results = make_results(tmp_path / "own")
    export_release(results, tmp_path / "release")
    export_arrays(results, tmp_path / "release", normalise=True)
    (tmp_path / "ids.txt").write_text("video000003\n")
    vectors = {f"features_{n}": f"release/features_{n}" for n in ("2d", "3d")}
    run = workflow(tmp_path, "pairs", release=vectors, clips={"exclude": ["ids.txt"]})
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    pairs = [read_table(shard_path(tmp_path / "results" / "pairs", s)) for s in range(2)]
    found = {video for table in pairs for video in table["video_id"].to_pylist()}
    assert found == {f"video{i:06}" for i in range(7)} - {"video000003"}
    for count in count_stages(tmp_path / "results"):
        assert count.adds_up and not count.failed, count
    plan = workflow(tmp_path, "media", "-n", "--quiet", "rules")
    rows = [line.split() for line in plan.stdout.splitlines()]
    assert ["download_media", "2"] in rows and ["total", "3"] in rows, plan.stdout
