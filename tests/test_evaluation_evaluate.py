import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tables import (
    COLOURS,
    THINGS,
    World,
    make_pairs,
    make_world,
    write_features,
    write_vocabulary,
)
from howto100m.embedding.model import Net
from howto100m.embedding.train import save, train_embedding
from howto100m.embedding.vocabulary import Vocabulary
from howto100m.evaluation.evaluate import evaluate_embedding
from howto100m.evaluation.features import Features
from howto100m.evaluation.questions import from_lists
from howto100m.features.pairs import RATE_2D, RATE_3D
from howto100m.kinds import UserError
from howto100m.shards import read_table

MAX_WORDS = 6


def write_csv(path: Path, rows: list) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_benchmarks(folder: Path, world: World) -> None:
    """Clips in YouCook2's form, steps in CrossTask's: the second to fourth clip."""
    clips = [
        (int(end + 0.5), int(start), 1, text, video)
        for video, lines in world.lines.items()
        for start, end, text in lines
    ]
    write_csv(folder / "clips.csv", [("end", "start", "task", "text", "video_id"), *clips])
    blocks, videos = "", []
    for task, (video, lines) in enumerate(world.lines.items(), 1):
        steps = [text for _, _, text in lines[1:4]]
        blocks += f"{task}\nTask {task}\nurl\n{len(steps)}\n{','.join(steps)}\n\n"
        videos.append((task, video, "url"))
        rows = [(k, start, end) for k, (start, end, _) in enumerate(lines[1:4], 1)]
        (folder / "crosstask").mkdir(exist_ok=True)
        write_csv(folder / "crosstask" / "annotations" / f"{task}_{video}.csv", rows)
    (folder / "crosstask" / "tasks_primary.txt").write_text(blocks)
    write_csv(folder / "crosstask" / "videos.csv", videos)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def world(tmp_path) -> World:
    """Four videos of 8 clips, all features in place, and a network that knows nothing."""
    world = make_world("v", 4)
    write_features(tmp_path / "2d.parquet", world.features_2d, RATE_2D)
    write_features(tmp_path / "3d.parquet", world.features_3d, RATE_3D)
    write_vocabulary(tmp_path / "words.parquet", THINGS + COLOURS)
    write_benchmarks(tmp_path, world)
    torch.manual_seed(0)
    save(Net(32), tmp_path / "net.pt")
    return world


def evaluate(folder: Path, protocol: str, **settings) -> tuple[list, list, list]:
    name = {"retrieval": "clips.csv", "localization": "crosstask"}[protocol]
    outputs = [folder / f"{table}.parquet" for table in ("metrics", "rankings", "status")]
    features = Features.open(folder / "2d.parquet", folder / "3d.parquet")
    evaluate_embedding(
        folder / "net.pt",
        folder / "words.parquet",
        "bench",
        from_lists(protocol, folder / name, features),
        **{
            "run": "one",
            "max_words": MAX_WORDS,
            "ties": "mean",
            "seed": 1,
            "device": "cpu",
        }
        | settings,
    ).write(*outputs)
    metrics, rankings, status = (read_table(path).to_pylist() for path in outputs)
    return metrics, rankings, status


def test_retrieval_agrees_with_a_plain_computation(world, tmp_path):
    net, words = Net(32), Vocabulary.load(tmp_path / "words.parquet")
    net.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    texts, videos = [], []
    for video, lines in world.lines.items():
        for start, end, text in lines:
            rows = np.zeros((MAX_WORDS, 300), np.float32)
            ids = words.encode(text, MAX_WORDS)
            rows[: len(ids)] = words.vectors[ids]
            texts.append(rows)
            halves = []
            for table, rate in ((world.features_2d, 1), (world.features_3d, 1.5)):
                whole = table[video].astype(np.float16).astype(np.float32)
                half = whole[int(start * rate) : int(int(end + 0.5) * rate) + 1].max(axis=0)
                halves.append(half / np.linalg.norm(half))
            videos.append(np.concatenate(halves))
    scores = net(torch.tensor(np.stack(texts)), torch.tensor(np.stack(videos))).detach().numpy()
    own = scores.diagonal()[:, None]
    expected = 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2

    metrics, rankings, status = evaluate(tmp_path, "retrieval")
    assert [row["rank"] for row in rankings] == pytest.approx(expected)
    got = {row["metric"]: (row["value"], row["chance"]) for row in metrics}
    assert got == {
        "R@1": (np.mean(expected <= 1), 1 / 32),
        "R@5": (np.mean(expected <= 5), 5 / 32),
        "R@10": (np.mean(expected <= 10), 10 / 32),
        "median_rank": (np.median(expected), 16.5),
    }
    assert {(row["items"], row["missing"], row["run"]) for row in metrics} == {(32, 0, "one")}
    assert {row["status"] for row in status} == {"ok"}
    best = rankings[5]["hits"]
    assert len(best) == 10
    assert best[0] == rankings[int(scores[5].argmax())]["query"]


def test_clips_without_features_are_counted_and_not_ranked(world, tmp_path):
    rows = list(csv.reader((tmp_path / "clips.csv").open()))
    more = [(9, 2, 1, "gone", "absent"), (900, 800, 1, "too late", "v0"), rows[1]]
    write_csv(tmp_path / "clips.csv", rows + more)
    metrics, rankings, status = evaluate(tmp_path, "retrieval")
    assert {(row["items"], row["missing"]) for row in metrics} == {(33, 2)}
    assert metrics[0]["chance"] == 1 / 33
    kinds = {row["id"]: row["kind"] for row in status}
    assert (kinds["absent:2"], kinds["v0:800"]) == ("no_features", "no_features")
    assert kinds["v0:0#2"] is None
    assert len(kinds) == len(status) == 35
    assert len(rankings) == 33


def test_a_benchmark_without_any_feature_is_an_error(world, tmp_path):
    write_csv(
        tmp_path / "clips.csv",
        [("end", "start", "text", "video_id"), (2, 1, "gone", "absent")],
    )
    with pytest.raises(UserError, match=r"none of 1 items .* has no features"):
        evaluate(tmp_path, "retrieval")


def test_localization_with_right_scores_finds_every_step(world, tmp_path, monkeypatch):
    looks = np.random.default_rng(0).random((len(THINGS) + len(COLOURS), 4096)).astype(np.float32)
    looks -= looks.mean(axis=0)

    def embed_text(self, ids, table, normalise=True):
        known = torch.from_numpy(looks)[(ids - 1).clamp(min=0)] * (ids > 0)[:, :, None]
        return known.sum(dim=1)

    monkeypatch.setattr(Net, "embed_text", embed_text)
    monkeypatch.setattr(Net, "embed_video", lambda self, video, normalise=True: video)
    metrics, rankings, status = evaluate(tmp_path, "localization")
    got = {(row["run"], row["metric"]): row["value"] for row in metrics if not row["part"]}
    assert got["one", "recall"] == got["one", "recall_pooled"] == 1
    assert got["random", "recall"] < got["uniform", "recall"] < 1
    chances = {row["metric"]: row["chance"] for row in metrics if not row["part"]}
    parts = [row for row in metrics if row["part"] == "2 Task 2" and row["run"] == "one"]
    assert [(row["metric"], row["value"], row["items"]) for row in parts] == [
        ("recall", 1, 1),
        ("recall_pooled", 1, 1),
    ]
    assert chances == {m: got["random", m] for m in ("recall", "recall_pooled")}
    assert {row["rank"] for row in rankings} == {1.0}
    for row in rankings:
        start, end = map(float, row["target"].split("-"))
        assert start <= int(row["hits"][0]) < end
    assert rankings[0]["query"] == "v0:1"
    assert {(row["id"], row["status"]) for row in status} == {(v, "ok") for v in world.lines}


def test_videos_without_features_or_steps_have_a_row(world, tmp_path):
    folder = tmp_path / "crosstask"
    with (folder / "videos.csv").open("a") as file:
        file.write("1,absent,url\n1,plain,url\n")
    write_csv(folder / "annotations" / "1_absent.csv", [(1, 0, 5)])
    metrics, _, status = evaluate(tmp_path, "localization")
    assert {(row["items"], row["missing"]) for row in metrics if not row["part"]} == {(4, 1)}
    by_task = {row["part"]: (row["items"], row["missing"]) for row in metrics if row["part"]}
    assert by_task == {"1 Task 1": (1, 1)} | {f"{n} Task {n}": (1, 0) for n in (2, 3, 4)}
    kinds = {row["id"]: row["kind"] for row in status}
    assert kinds["absent"] == "no_features"
    assert kinds["plain"] == "no_clips"
    assert len(status) == 6


def test_features_may_lie_in_a_folder_of_shards(world, tmp_path):
    whole = evaluate(tmp_path, "retrieval")
    for kind, features, rate in (
        ("2d", world.features_2d, RATE_2D),
        ("3d", world.features_3d, RATE_3D),
    ):
        (tmp_path / f"{kind}.parquet").unlink()
        for shard, videos in enumerate((("v0", "v3"), ("v1", "v2"))):
            part = {video: features[video] for video in videos}
            write_features(tmp_path / f"{kind}.parquet" / f"{shard}.parquet", part, rate)
    assert evaluate(tmp_path, "retrieval")[:2] == whole[:2]


def test_a_tie_rule_that_does_not_exist(world, tmp_path):
    with pytest.raises(UserError, match="choose one of mean, strict, official"):
        evaluate(tmp_path, "retrieval", ties="odd")


def test_a_protocol_that_does_not_exist(world, tmp_path):
    features = Features.open(tmp_path / "2d.parquet", tmp_path / "3d.parquet")
    with pytest.raises(UserError, match="choose retrieval or localization"):
        from_lists("odd", tmp_path, features)


@pytest.mark.heavy
@pytest.mark.parametrize("loss", ["max_margin", "mil_nce"])
def test_what_training_learned_holds_for_other_videos(world, tmp_path, loss):
    made = make_pairs(tmp_path)
    shutil.copy(made / "words", tmp_path / "words.parquet")
    train_embedding(
        [made / "pairsa", made / "pairsb"],
        made / "words",
        tmp_path / "net.pt",
        tmp_path / "curve",
        tmp_path / "net.status",
        run="one",
        dim=64,
        max_words=MAX_WORDS,
        videos_per_batch=5,
        pairs_per_video=8,
        epochs=30,
        lr=1e-3,
        lr_decay=0.98,
        loss=loss,
        margin=0.1,
        intra_share=0.5,
        weighting="code",
        seed=1,
        device="cpu",
    )
    metrics = {row["metric"]: row for row in evaluate(tmp_path, "retrieval")[0]}
    assert metrics["R@5"]["value"] > 3 * metrics["R@5"]["chance"]
    assert metrics["median_rank"]["value"] < 0.3 * metrics["median_rank"]["chance"]
    steps = {
        r["run"]: r["value"]
        for r in evaluate(tmp_path, "localization")[0]
        if (r["metric"], r["part"]) == ("recall", "")
    }
    assert steps["one"] > 2 * max(steps["uniform"], steps["random"])
