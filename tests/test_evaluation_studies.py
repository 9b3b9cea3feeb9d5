"""What studies train, their targets' pairs, their tables, and what the report makes of them."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.testing import CliRunner

from feature_tables import write_vocabulary
from howto100m import tables
from howto100m.cli import app
from howto100m.config import resolve
from howto100m.embedding.data import PairShard, pairs_by_video, ranked_videos
from howto100m.evaluation.plan import plan
from howto100m.evaluation.questions import Retrieval, Sentence
from howto100m.evaluation.studies import collect_study, parts_of
from howto100m.evaluation.training import official_training, pair_sentences
from howto100m.kinds import ItemError, Kind, UserError
from howto100m.report.comparison import compare
from howto100m.report.studies import studies
from howto100m.shards import Outcome, read_table, shard_path, status_path, write_status, write_table

ROOT = Path(__file__).parents[1]
WORDS = "open close the red door".split()


@pytest.fixture
def config() -> dict[str, Any]:
    return resolve(yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_a_run_that_the_line_has_is_not_trained_again(config):
    variants = plan(config)
    adopted = {key for key, v in variants.items() if not v.trained and v.share != "0"}
    assert adopted == {
        ("negatives", "intra_share=0.5"),
        ("scale", "rank=200"),
        ("loss", "loss=max_margin"),
    }
    for key in adopted:
        assert variants[key].checkpoint(2) == "results/embedding/max_margin-2.pth"
        assert variants[key].status(2) == f"results/studies/{key[0]}/{key[1]}-2.status.parquet"
    config["studies"]["embedding"] = {"epochs": 1}
    assert all(plan(config)[key].trained for key in adopted)


def test_what_each_study_changes(config):
    variants = plan(config)
    none = variants["negatives", "intra_share=0"]
    assert none.flags == {**none.settings} and none.settings["intra_share"] == 0
    assert none.settings["epochs"] == config["embedding"]["epochs"]
    assert variants["scale", "rank=2"].flags["max_rank"] == 2
    assert variants["loss", "loss=mil_nce_5"].settings["candidates"] == 5
    assert variants["loss", "loss=mil_nce"].settings["pairs_per_video"] == 16
    assert none.metrics(1) == [
        f"results/studies/negatives/{name}/intra_share=0-1.metrics.parquet"
        for name in ("sample_clips", "sample_names", "sample_steps")
    ]


def test_what_is_fine_tuned_and_where_it_starts(config):
    variants = plan(config)
    zero = variants["finetune", "target=sample_clips,init=howto100m,share=0"]
    assert zero.checkpoint(3) == "results/embedding/max_margin-3.pth" and not zero.status(3)
    assert ("finetune", "target=sample_clips,init=none,share=0") not in variants
    half = variants["finetune", "target=sample_clips,init=none,share=0.5"]
    assert (half.init, half.target, half.share, half.trained) == (None, "sample_clips", "0.5", True)
    assert half.benchmarks == ("sample_clips",) and half.settings["pairs_per_video"] == 1
    starts = {
        parts_of(v.setting)["init"]: v.init
        for v in variants.values()
        if v.study == "transfer" and v.target == "sample_names"
    }
    assert starts == {
        "none": None,
        "howto100m": "results/embedding/max_margin-{seed}.pth",
        "sample_clips": "results/studies/transfer/target=sample_clips,init=none-{seed}.pth",
    }
    assert ("transfer", "target=sample_clips,init=none") in variants


def test_a_target_needs_training_data(config):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    targets = config["sample"]["settings"]["studies"]["targets"]
    targets |= {"sample_steps": {}, "nothing": {}}
    targets["sample_clips"] = {"videos": "x", "annotations": "y"}
    with pytest.raises(UserError) as error:
        resolve(config)
    key = "config: studies.targets"
    official = "an official one of msrvtt, youcook2, lsmdc"
    assert str(error.value).splitlines() == [
        f"{key}.nothing is no benchmark (evaluation.benchmarks)",
        f"{key}.sample_clips.videos: 'x' is not one of evaluation.videos",
        f"{key}.sample_steps: give videos and annotations, or {official}",
    ]


def vector(number: int) -> np.ndarray:
    rows = np.random.default_rng(number).random((2, 2048), np.float32)
    return np.concatenate([row / np.linalg.norm(row) for row in rows])


def test_pairs_of_sentences_are_a_clip_a_row_group_and_shares_are_nested(tmp_path):
    def gone() -> np.ndarray:
        raise ItemError(Kind.NO_FEATURES, "gone")

    sentences = [
        Sentence(f"clip{n % 20}", f"{WORDS[n % 5]} word", lambda n=n: vector(n % 20))
        for n in range(40)
    ]
    bad = [Sentence("mute", "unheard of", lambda: vector(1)), Sentence("gone", "red", gone)]
    write_vocabulary(tmp_path / "words.parquet", WORDS)
    clips = {}
    for share in (0.01, 0.5, 1.0):
        output = tmp_path / f"{share}" / "pairs.parquet"
        pair_sentences(
            Retrieval(sentences + (bad if share == 1 else [])),
            tmp_path / "words.parquet",
            output,
            share=share,
            max_words=5,
        )
        clips[share] = set(pairs_by_video([output]))
    assert len(clips[0.01]) == 1 and clips[0.01] <= clips[0.5] < clips[1.0]
    assert clips[1.0] == {f"clip{n}" for n in range(20)}
    kinds = {r["id"]: r["kind"] for r in read_table(status_path(output)).to_pylist()}
    assert (kinds["mute"], kinds["gone"], len(kinds)) == ("no_words", "no_features", 22)
    shard = PairShard.open(output)
    number = shard.videos.index("clip7")
    assert shard.pairs(number) == 2
    assert shard.features(number) == pytest.approx(np.stack([vector(7)] * 2).astype(np.float16))
    with pytest.raises(UserError, match="no clip of the training data makes a pair: gone"):
        pair_sentences(
            Retrieval(bad[-1:]), tmp_path / "words.parquet", output, share=1, max_words=5
        )


def test_the_official_training_files_become_pairs(tmp_path):
    halves = {k: {f"video{n}": torch.rand(2048) for n in range(4)} for k in ("2d", "3d")}
    torch.save(halves, tmp_path / "MSRVTT_train.pth")
    (tmp_path / "MSRVTT_train.csv").write_text("key,video_id\na,video0\nb,video2\n")
    captions = [{"video_id": f"video{n % 4}", "caption": f"the {WORDS[n % 5]}"} for n in range(12)]
    (tmp_path / "MSRVTT_data.json").write_text(json.dumps({"sentences": captions}))
    entries = [
        {"2d": np.ones(2048), "3d": np.ones(2048), "caption": "open door", "id": f"a_{n}"}
        for n in range(3)
    ]
    (tmp_path / "youcook_train.pkl").write_bytes(pickle.dumps(entries))
    row = "\t".join(["video1", *"abcd", "Close the door."])
    (tmp_path / "LSMDC16_annos_training.csv").write_text(row + "\n")
    (tmp_path / "LSMDC_train.pth").write_bytes((tmp_path / "MSRVTT_train.pth").read_bytes())
    write_vocabulary(tmp_path / "words.parquet", WORDS)
    expected = {
        "msrvtt": {"video0": 3, "video2": 3},
        "youcook2": {"a_0": 1, "a_1": 1, "a_2": 1},
        "lsmdc": {"video1": 1},
    }
    for name, pairs in expected.items():
        flags = ["--official", name, "--data", tmp_path, "--output", tmp_path / "p.parquet"]
        flags += ["--vocabulary", tmp_path / "words.parquet"]
        answer = CliRunner().invoke(app, ["pairs", *map(str, flags)])
        assert answer.exit_code == 0, answer.output + repr(answer.exception)
        assert pairs_by_video([tmp_path / "p.parquet"]) == pairs
    with pytest.raises(UserError, match="crosstask has no training files"):
        official_training("crosstask", tmp_path)
    (tmp_path / "MSRVTT_data.json").write_text("{}")
    with pytest.raises(UserError, match=r"MSRVTT_data\.json has no list of sentences"):
        official_training("msrvtt", tmp_path)


def test_training_takes_the_videos_down_to_a_rank(tmp_path):
    videos = [f"video{n}" for n in range(6)]
    sentences = [Sentence(v, "open the door", lambda: vector(1)) for v in videos]
    write_vocabulary(tmp_path / "words", WORDS)
    pairs = tmp_path / "pairs" / "a.parquet"
    pair_sentences(Retrieval(sentences), tmp_path / "words", pairs, share=1, max_words=5)
    rows = [
        {"video_id": v, "task_id": "1", "rank": n, "tasks": [{"task_id": "1", "rank": n}]}
        | {"category_1": "", "category_2": "", "title": "", "channel": ""}
        for n, v in enumerate(videos, 1)
    ]
    for shard in (0, 1):
        write_table(shard_path(tmp_path / "videos", shard), rows[shard::2], tables.VIDEOS)
    assert ranked_videos(tmp_path / "videos", 3) == set(videos[:3])
    flags = f"--pairs {tmp_path}/pairs --vocabulary {tmp_path}/words --output {tmp_path}/n.pth"
    flags += f" --curve {tmp_path}/c --status {tmp_path}/s --videos {tmp_path}/videos --max-rank 3"
    flags += " --dim 8 --epochs 1 --videos-per-batch 2 --pairs-per-video 4"
    answer = CliRunner().invoke(app, ["embedding", *flags.split()])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    assert set(read_table(tmp_path / "s")["id"].to_pylist()) == set(videos[:3])
    answer = CliRunner().invoke(app, ["embedding", *flags.replace("--max-rank 3", "").split()])
    assert isinstance(answer.exception, UserError) and "go together" in str(answer.exception)


def write_figures(path: Path, run: str, benchmark: str, metric: str, value: float) -> Path:
    row = {"run": run, "benchmark": benchmark, "part": "", "metric": metric, "value": value}
    row |= {"chance": 0.1, "protocol": "p", "items": 10, "missing": 2}
    write_table(path, [row, row | {"run": "random"}, row | {"part": "1 A"}], tables.METRICS)
    return path


def make_study(folder: Path) -> Path:
    """study_scale with two ranks and seeds on a benchmark whose name has a dash."""
    paths = []
    for rank, videos in ((2, 5), (10, 9)):
        for seed in (1, 2):
            run = f"rank={rank}-{seed}"
            path = folder / "scale" / "my-clips" / f"{run}.metrics.parquet"
            paths.append(write_figures(path, run, "my-clips", "R@10", rank / 20 + seed / 100))
            outcomes = [Outcome(f"v{n}") for n in range(videos)]
            write_status(folder / "scale" / f"{run}.status.parquet", outcomes)
    collect_study(paths, folder / "scale.parquet")
    return folder / "scale.parquet"


def test_a_study_is_one_table(tmp_path):
    path = make_study(tmp_path)
    assert pq.read_schema(path).equals(tables.STUDY)
    rows = read_table(path).to_pylist()
    assert [(r["setting"], r["seed"], r["videos"], round(r["value"], 2)) for r in rows] == [
        ("rank=2", 1, 5, 0.11),
        ("rank=2", 2, 5, 0.12),
        ("rank=10", 1, 9, 0.51),
        ("rank=10", 2, 9, 0.52),
    ]
    assert {(r["study"], r["benchmark"], r["missing"]) for r in rows} == {("scale", "my-clips", 2)}


def test_the_report_has_a_section_for_each_study_that_is_there(tmp_path):
    make_study(tmp_path / "studies")
    for study, setting in (
        ("negatives", "intra_share=0"),
        ("finetune", "target=clips,init=none,share=0.5"),
        ("transfer", "target=clips,init=none"),
        ("loss", "loss=mil_nce"),
    ):
        path = tmp_path / "studies" / study / "clips" / f"{setting}-1.metrics.parquet"
        write_figures(path, f"{setting}-1", "clips", "R@10", 0.5)
        collect_study([path], tmp_path / "studies" / f"{study}.parquet")
    found = {study.title: study for study in studies(tmp_path)}
    assert len(found) == 5
    scale = found["How many videos"]
    assert [(line.setting, line.videos) for line in scale.lines] == [("rank=2", 5), ("rank=10", 9)]
    assert scale.lines[1].cells == (pytest.approx((0.51, 0.52)),)
    assert "figure 3, which gives no numbers" in scale.note and not scale.papers
    negatives = found["Negatives of the same video"]
    assert negatives.paper_columns[0] == "msrvtt: R@10"
    assert [setting for setting, *_ in negatives.papers] == ["intra_share 0", "intra_share 0.5"]
    assert [v[0] for _, v, _ in negatives.papers] == pytest.approx([0.301, 0.296])
    assert all(chart.startswith("<svg") for study in found.values() for chart in study.charts)
    assert studies(tmp_path / "studies") == []


def test_our_row_stands_first_and_tasks_in_the_papers_order():
    def row(benchmark: str, metric: str, value: float, run: str = "a-1", part: str = "") -> dict:
        return {"run": run, "benchmark": benchmark, "part": part, "metric": metric} | {
            "value": value,
            "chance": 0.0,
            "protocol": "p",
            "items": 990,
            "missing": 10,
        }

    metrics = [row("clips", "R@1", value, f"a-{n}") for n, value in enumerate((0.1, 0.3))]
    metrics += [row("steps", "recall", 0.4), row("steps", "recall", 0.2, "uniform")]
    metrics += [row("steps", "recall", 0.7, part="95603 Make Kerala Fish Curry")]
    metrics += [row("own", "R@1", 0.9)]
    named = {"clips": {"official": "msrvtt"}, "steps": {"official": "crosstask"}, "own": {}}
    msrvtt, youcook2, _, crosstask = compare(metrics, named)
    first = msrvtt.lines[0]
    assert (first.ours, first.method) == (True, "clips, mean of 2 runs")
    assert first.values == (pytest.approx(0.2), None, None, None)
    assert (msrvtt.items, msrvtt.missing) == (990, 10)
    assert not youcook2.items and not any(line.ours for line in youcook2.lines)
    assert crosstask.lines[0].values == (0.4,)
    assert crosstask.tasks[0][0] == "Kimchi Rice" and crosstask.tasks[-1][1][0] == 0.7
    assert crosstask.methods[0] == "ours" and len(crosstask.tasks) == 18
