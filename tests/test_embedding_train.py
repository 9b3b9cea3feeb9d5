import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tables import make_pairs
from howto100m import progress
from howto100m.embedding.data import Sampling, ahead, draw_batches, nearest_in_time, pairs_by_video
from howto100m.embedding.model import Net, load_net
from howto100m.embedding.train import save, train_embedding
from howto100m.kinds import UserError
from howto100m.shards import read_table, write_table

SETTINGS = {
    "run": "test",
    "dim": 64,
    "max_words": 6,
    "videos_per_batch": 5,
    "pairs_per_video": 8,
    "epochs": 30,
    "lr": 1e-3,
    "lr_decay": 0.98,
    "loss": "max_margin",
    "margin": 0.1,
    "intra_share": 0.5,
    "weighting": "code",
    "seed": 1,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Pairs of 17 videos in two shards, and a vocabulary."""
    return make_pairs(tmp_path_factory.mktemp("made"))


def train(made: Path, folder: Path, pairs: str = "ab", **settings) -> Path:
    train_embedding(
        [made / f"pairs{shard}" for shard in pairs],
        made / "words",
        folder / "net.pt",
        folder / "curve.parquet",
        folder / "net.status.parquet",
        **SETTINGS | settings,
    )
    return folder / "net.pt"


def batches(made: Path, epoch: int = 1, **settings) -> list:
    sampling = {"videos_per_batch": 5, "pairs_per_video": 8, "max_words": 6} | settings
    paths = [made / "pairsa", made / "pairsb"]
    return list(draw_batches(paths, Sampling(**sampling), seed=1, epoch=epoch))


def pairs_by_feature(made: Path) -> dict[bytes, dict]:
    """The rows of both tables; no two have the same feature."""
    rows = [row for shard in "ab" for row in read_table(made / f"pairs{shard}").to_pylist()]
    found = {row["feature"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_an_epoch_takes_every_video_once_and_drops_the_last_batch(made):
    assert [len(b.clips) for b in batches(made)] == [40, 40, 40]
    (whole,) = batches(made, videos_per_batch=17, pairs_per_video=1)
    assert whole.video.shape == (17, 4096)


def test_what_is_drawn_twice_is_read_once(made):
    for batch in batches(made):
        assert len(np.unique(batch.video, axis=0)) == len(batch.video) < 40
        assert set(batch.clips) == set(range(len(batch.video)))
        assert set(batch.captions) == set(range(len(batch.tokens)))


def test_the_tables_say_how_many_videos_they_have(made):
    assert len(pairs_by_video([made / "pairsa", made / "pairsb"])) == 17


def test_pairs_of_a_video_are_contiguous_and_belong_together(made):
    by_feature = pairs_by_feature(made)
    for batch in batches(made):
        found = [by_feature[batch.video[clip].tobytes()] for clip in batch.clips]
        owners = [pair["video_id"] for pair in found]
        assert all(len(set(owners[i : i + 8])) == 1 for i in range(0, 40, 8))
        assert len(set(owners)) == 5
        for row, pair in zip(batch.tokens[batch.captions], found, strict=True):
            assert list(row) == (pair["tokens"] + [0] * 6)[:6]


def test_every_pair_comes_once_an_epoch(made):
    by_feature = pairs_by_feature(made)
    seen = batches(made, videos_per_batch=4, pairs_per_video=1, every_pair=True)
    assert [len(batch.clips) for batch in seen] == [4] * (len(by_feature) // 4)
    features = [row.tobytes() for batch in seen for row in batch.video]
    assert set(features) == set(by_feature)
    assert len(features) == len(by_feature)
    owners = [by_feature[feature]["video_id"] for feature in features]
    assert owners != sorted(owners)


def test_candidates_are_the_nearest_captions_of_the_same_video(made):
    by_feature = pairs_by_feature(made)
    captions = {(p["video_id"], p["clip"]): p["tokens"] for p in by_feature.values()}
    (batch,) = batches(made, videos_per_batch=17, candidates=3)
    texts = batch.tokens[batch.captions].reshape(17 * 8, 3, 6)
    for clip, candidates in zip(batch.clips, texts, strict=True):
        pair = by_feature[batch.video[clip].tobytes()]
        # Clips of one length at equal distances: every tie goes to the next one.
        clips = min(pair["clip"], 5) + np.arange(3)
        expected = [captions[pair["video_id"], clip] for clip in clips]
        assert candidates.tolist() == [(tokens + [0] * 6)[:6] for tokens in expected]


def test_a_run_of_candidates_grows_as_in_the_mil_nce_loader():
    starts = np.array([0, 2, 3, 6, 9.5])
    ends = np.array([2.5, 3.5, 6, 9, 12])
    runs = nearest_in_time(starts, ends, np.arange(5), 3)
    assert runs.tolist() == [[0, 1, 2], [0, 1, 2], [0, 1, 2], [2, 3, 4], [2, 3, 4]]
    assert nearest_in_time(starts, ends, np.arange(5), 1).tolist() == [[0], [1], [2], [3], [4]]
    assert nearest_in_time(starts[:2], ends[:2], np.array([1]), 4).tolist() == [[0, 1, 1, 1]]


def test_epochs_differ_and_repeat(made):
    first, again, second = batches(made), batches(made), batches(made, epoch=2)
    assert all(np.array_equal(a.video, b.video) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].video, second[0].video)


def test_a_table_that_is_not_laid_out_for_the_memory_map_is_refused(made, tmp_path):
    table = read_table(made / "pairsa")
    write_table(tmp_path / "plain", table, table.schema)
    with pytest.raises(UserError, match="not laid out for a memory map"):
        list(draw_batches([tmp_path / "plain"], Sampling(1, 1, max_words=5), seed=1, epoch=1))


@pytest.mark.parametrize(
    ("left", "settings"),
    [
        (0.6, {"loss": "max_margin"}),
        (0.6, {"loss": "mil_nce"}),
        # The neighbour's caption says nothing of the clip here: it can be told less well.
        (0.8, {"loss": "mil_nce", "candidates": 2, "weighting": "paper", "pairs_per_video": 2}),
    ],
)
def test_training_learns_and_writes_its_tables(made, tmp_path, left, settings):
    train(made, tmp_path, **settings)
    curve = read_table(tmp_path / "curve.parquet").to_pydict()
    assert curve["step"] == list(range(1, 91))
    assert curve["epoch"][:4] == [1, 1, 1, 2]
    assert curve["rate"][0] == 1e-3
    assert curve["rate"][-1] == pytest.approx(1e-3 * 0.98**29)
    assert np.mean(curve["loss"][-5:]) < left * np.mean(curve["loss"][:5])
    status = read_table(tmp_path / "net.status.parquet")
    assert sorted(status["id"].to_pylist()) == sorted(
        pairs_by_video([made / "pairsa", made / "pairsb"])
    )
    assert set(status["status"].to_pylist()) == {"ok"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curve.parquet",
        "net.pt",
        "net.status.parquet",
    ]


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    first = train(made, tmp_path / "a", epochs=2).read_bytes()
    assert first == train(made, tmp_path / "b", epochs=2).read_bytes()
    assert first != train(made, tmp_path / "c", epochs=2, seed=2).read_bytes()


def test_fewer_videos_than_a_batch_are_all_used(made, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(made, tmp_path, videos_per_batch=32, epochs=2)
    assert "17 videos are fewer than a batch of 32" in caplog.text
    assert len(read_table(tmp_path / "curve.parquet")) == 2


def test_bfloat16_stays_close(made, tmp_path):
    for dtype in ("float32", "bfloat16"):
        train(made, tmp_path / dtype, epochs=2, dtype=dtype)
    full, half = (
        read_table(tmp_path / dtype / "curve.parquet")["loss"].to_numpy()
        for dtype in ("float32", "bfloat16")
    )
    assert half == pytest.approx(full, rel=0.05)
    state = torch.load(tmp_path / "bfloat16" / "net.pt", weights_only=True)
    assert state["GU_text.fc.weight"].dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_epoch(made, tmp_path):
    with pytest.raises(UserError, match=r"(loss|weight) became .* lower embedding\.lr"):
        train(made, tmp_path, lr=1.0, lr_decay=1e38, epochs=3)
    assert not (tmp_path / "net.pt").exists()
    kept = load_net(tmp_path / "net.resume.pt", torch.device("cpu"))
    assert kept.GU_text.fc.out_features == 64


def test_fine_tuning_goes_on_from_a_checkpoint_with_its_width(made, tmp_path):
    start = train(made, tmp_path / "a", epochs=20)
    tuning = {"videos_per_batch": 32, "pairs_per_video": 1, "every_pair": True, "lr_decay": 1.0}
    train(made, tmp_path / "b", dim=9, init=start, epochs=2, **tuning)
    train(made, tmp_path / "c", dim=64, epochs=2, **tuning)
    tuned, fresh = (
        read_table(tmp_path / folder / "curve.parquet")["loss"].to_numpy() for folder in "bc"
    )
    assert len(tuned) == len(fresh) == 2 * (17 * 8 // 32)
    assert tuned[0] < 0.7 * fresh[0]
    state = torch.load(tmp_path / "b" / "net.pt", weights_only=True)
    assert state["GU_text.fc.weight"].shape == (64, 64)


def test_a_checkpoint_that_does_not_fit_the_pairs_is_refused(made, tmp_path):
    save(Net(8, video_dim=6, word_dim=5), tmp_path / "odd.pt")
    with pytest.raises(UserError, match=r"odd\.pt takes word vectors of 5 numbers and features"):
        train(made, tmp_path, init=tmp_path / "odd.pt")


def test_settings_that_contradict_each_other_are_refused(made, tmp_path):
    with pytest.raises(UserError, match="only mil_nce takes several"):
        train(made, tmp_path, candidates=2)
    with pytest.raises(UserError, match="set pairs_per_video to 1"):
        train(made, tmp_path, every_pair=True)
    with pytest.raises(UserError, match="tf32, which a CPU does not have"):
        train(made, tmp_path, dtype="tf32")


@pytest.mark.parametrize("setting", ["loss", "weighting", "dtype"])
def test_a_setting_that_does_not_exist_is_named(made, tmp_path, setting):
    with pytest.raises(UserError, match=rf"embedding\.{setting} is odd: choose one of"):
        train(made, tmp_path, **{setting: "odd"})


def test_no_pairs_at_all(made, tmp_path):
    with pytest.raises(UserError, match="no pair"):
        train(made, tmp_path, pairs="")


def test_tensorboard_gets_every_loss_when_asked(made, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(made, tmp_path, epochs=2, tensorboard=tmp_path / "board")
    board = EventAccumulator(str(tmp_path / "board" / "test"))
    board.Reload()
    losses = read_table(tmp_path / "curve.parquet")["loss"].to_pylist()
    assert [scalar.step for scalar in board.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [scalar.value for scalar in board.Scalars("loss")] == pytest.approx(losses)


def test_without_tensorboard_the_option_says_what_to_install(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        train(made, tmp_path, tensorboard=tmp_path / "board")


def test_a_person_who_watches_sees_a_bar(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0)
    train(made, tmp_path, epochs=2)
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "pairs/s" in shown


def test_what_is_made_ahead_keeps_its_order_and_its_errors():
    def numbers() -> Iterator[int]:
        yield from range(1, 6)
        raise UserError("the table broke")

    seen = []
    with pytest.raises(UserError, match="the table broke"):
        seen.extend(ahead(numbers()))
    assert seen == [1, 2, 3, 4, 5]
    assert list(ahead(iter([]))) == []
