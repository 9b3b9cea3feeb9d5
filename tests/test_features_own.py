"""`howto100m extract`: anyone's videos to tables or .npy files, with small networks in between."""

import csv
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from howto100m.cli import app
from howto100m.features import engine, own, resnet152, resnext101
from howto100m.features.engine import Engine, Settings, Video
from howto100m.features.networks import TRUNK, Extractor
from howto100m.features.own import chosen_weights, extract_own, list_videos
from howto100m.features.pairs import FeatureTable
from howto100m.kinds import UserError
from howto100m.shards import read_table
from test_features_decode import encode, noise, numbered


def tiny(convolution: type[nn.Conv2d | nn.Conv3d], mean: Any, std: Any, scale: float) -> Extractor:
    """A network of one layer: 2048 mixtures of the colours of coarse blocks, positive."""
    torch.manual_seed(0)
    net = nn.Module()
    for name in TRUNK:
        net.add_module(name, nn.Identity())
    pool = nn.AvgPool2d(16) if convolution is nn.Conv2d else nn.AvgPool3d((4, 16, 16))
    net.conv1 = nn.Sequential(pool, convolution(3, 2048, 1))
    net.relu = nn.ReLU()
    return Extractor(net, mean, std, scale=scale).eval()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    def load_2d(path: Path) -> Extractor:
        return tiny(nn.Conv2d, resnet152.MEAN, resnet152.STD, 255.0)

    def load_3d(path: Path, mean: Any) -> Extractor:
        return tiny(nn.Conv3d, mean, resnext101.STD, 1.0)

    monkeypatch.setattr(resnet152, "load", load_2d)
    monkeypatch.setattr(resnext101, "load", load_3d)
    monkeypatch.setattr(engine, "claim_device", lambda _: torch.device("cpu"))
    files = {name: tmp_path / f"{name}.pth" for name in ("2d", "3d")}
    for name, path in files.items():
        path.write_text(name)
    return files


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    encode(folder / "a.mp4", noise(60, 64, 48, seed=1))
    encode(folder / "deep" / "a.mkv", noise(30, 48, 64, seed=2))
    encode(folder / "deep" / "b.mp4", noise(10, 64, 48, seed=3))
    (folder / "deep" / "notes.txt").write_text("no video")
    return folder


QUICK = Settings(dtype="float32", batch_size=3, workers=2, timeout=30.0)


def official(path: Path, network: str) -> np.ndarray:
    """As the official extractor saves the vectors of these networks' own frames."""
    from howto100m.features.decode import rows

    module = resnet152 if network == "2d" else resnext101
    net = resnet152.load(path) if network == "2d" else resnext101.load(path, resnext101.MEAN)
    pictures = [row.pixels for row in rows(path, [engine.NETWORKS[network]])]
    with torch.no_grad():
        vectors = net(torch.from_numpy(np.stack(pictures)))
    assert module.TITLE
    return nn.functional.normalize(vectors, dim=1).half().numpy()


def test_npy_files_are_the_official_extractors(
    tmp_path: Path, weights: dict[str, Path], videos: Path
) -> None:
    outcomes = extract_own(videos, tmp_path / "out", "npy", weights, QUICK)
    assert [o.id for o in outcomes] == ["a", "deep/a", "deep/b"]
    for name, path, rows in (
        ("a", videos / "a.mp4", (2, 4)),
        ("deep/a", videos / "deep/a.mkv", (1, 2)),
        ("deep/b", videos / "deep/b.mp4", (1, 1)),
    ):
        for network, count in zip(("2d", "3d"), rows, strict=True):
            found = np.load(tmp_path / "out" / network / f"{name}.npy")
            assert found.shape == (count, 2048)
            assert found.dtype == np.float16
            assert found.flags["C_CONTIGUOUS"]
            assert np.abs(np.linalg.norm(found.astype(float), axis=1) - 1).max() < 1e-3
            wanted = official(path, network)
            ulps = np.abs(found.view(np.int16).astype(int) - wanted.view(np.int16).astype(int))
            assert ulps.max() <= 1
    status = read_table(tmp_path / "out" / "status.parquet").to_pylist()
    assert [(row["id"], row["status"]) for row in status] == [
        ("a", "ok"), ("deep/a", "ok"), ("deep/b", "ok")
    ]  # fmt: skip


def test_tables_grow_and_what_is_there_stays(
    tmp_path: Path, weights: dict[str, Path], videos: Path
) -> None:
    out = tmp_path / "out"
    first = extract_own(videos / "a.mp4", out, "parquet", {"2d": weights["2d"]}, QUICK)
    assert [(o.id, str(o.status)) for o in first] == [("a", "ok")]
    before = (out / "2d" / "00000.parquet").read_bytes()

    second = extract_own(videos, out, "parquet", weights, QUICK)
    assert [(o.id, str(o.status)) for o in second] == [
        ("a", "ok"), ("deep/a", "ok"), ("deep/b", "ok")
    ]  # fmt: skip
    assert (out / "2d" / "00000.parquet").read_bytes() == before
    for network, counts in (("2d", (2, 1, 1)), ("3d", (4, 2, 1))):
        table = FeatureTable.open(out / network)
        assert sorted(table.groups) == ["a", "deep/a", "deep/b"], "once each"
        assert tuple(len(table.rows(n)) for n in ("a", "deep/a", "deep/b")) == counts

    third = extract_own(videos, out, "parquet", weights, QUICK)
    assert {(str(o.status), o.kind) for o in third} == {("skipped", "present")}
    files = sorted(p.name for p in out.rglob("*.parquet"))
    notes = pq.read_schema(out / "3d" / "00002.parquet").metadata
    assert notes[b"mode"] == b"exact"
    assert notes[b"normalised"] == b"no"

    weights["2d"].write_text("other weights")
    (tmp_path / "new").mkdir()
    encode(tmp_path / "new" / "c.mp4", noise(30, 64, 48))
    with pytest.raises(UserError, match=r"2d/0000\d\.parquet was made with another weights_sha256"):
        extract_own(tmp_path / "new", out, "parquet", weights, QUICK)
    assert sorted(p.name for p in out.rglob("*.parquet")) == files


def test_what_was_done_before_a_stop_is_kept(
    tmp_path: Path, weights: dict[str, Path], videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = own.write_vectors
    written: list[str] = []

    def stopped(writer: Any, video: str, *rest: Any) -> None:
        if video == "deep/b":
            raise KeyboardInterrupt
        written.append(video)
        sound(writer, video, *rest)

    monkeypatch.setattr(own, "write_vectors", stopped)
    with pytest.raises(KeyboardInterrupt):
        extract_own(videos, tmp_path / "out", "parquet", weights, QUICK)
    monkeypatch.setattr(own, "write_vectors", sound)
    outcomes = extract_own(videos, tmp_path / "out", "parquet", weights, QUICK)
    assert [(o.id, str(o.kind or o.status)) for o in outcomes] == [
        ("a", "present"), ("deep/a", "present"), ("deep/b", "ok")
    ]  # fmt: skip
    assert not list((tmp_path / "out").rglob("*.part"))


def test_the_official_list(tmp_path: Path, weights: dict[str, Path], videos: Path) -> None:
    listing = tmp_path / "list.csv"
    outputs = [tmp_path / "features" / "first.npy", tmp_path / "features" / "second.npy"]
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_path", "feature_path"])
        writer.writerows(zip([videos / "a.mp4", tmp_path / "none.mp4"], outputs, strict=True))
    alone = {"2d": weights["2d"]}
    outcomes = extract_own(listing, tmp_path / "out", "npy", alone, QUICK)
    assert [(o.id, o.kind) for o in outcomes] == [("a", None), ("none", "no_media")]
    assert np.load(outputs[0]).shape == (2, 2048)
    assert not outputs[1].exists()

    outputs[0].write_bytes(outputs[0].read_bytes()[:100])
    outcomes = extract_own(listing, tmp_path / "out", "npy", alone, QUICK)
    assert str(outcomes[0].status) == "ok", "half a file is no vectors"
    assert np.load(outputs[0]).shape == (2, 2048)

    extract_own(listing, tmp_path / "out", "npy", weights, QUICK)
    for network, rows in (("2d", 2), ("3d", 4)):
        assert np.load(outputs[0].with_suffix(f".{network}.npy")).shape == (rows, 2048)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("path\nv.mp4\n", "has no column video_path"),
        ("video_path,feature_path\n,x.npy\n", ":2: video_path is empty"),
        ("video_path,feature_path\na,x.npy\nb,x.npy\n", ":3: x.npy stands in line 2 too"),
        ("video_path,feature_path\n", "lists no video"),
        ("video_path\n\xff", "cannot be read"),
    ],
)
def test_lists_that_will_not_do(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=fault):
        list_videos(path)


def test_ids_tell_files_apart(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "b.mp4", "sub/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [i.id for i in list_videos(tmp_path)] == ["a.mkv", "a.mp4", "b", "sub/b"]
    with pytest.raises(UserError, match="does not exist"):
        list_videos(tmp_path / "none.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no video file"):
        list_videos(tmp_path / "empty")


def test_networks_and_their_weights() -> None:
    given = {"2d": Path("a.pth"), "3d": None}
    assert chosen_weights("2d", given) == {"2d": Path("a.pth")}
    with pytest.raises(UserError, match="--networks 2d,3d needs --resnext101"):
        chosen_weights("2d,3d", given)
    with pytest.raises(UserError, match="knows 2d and 3d, not 'rgb'"):
        chosen_weights("rgb", given)


def test_bad_videos_fail_within_their_time_and_the_others_go_on(
    tmp_path: Path, weights: dict[str, Path], videos: Path
) -> None:
    (videos / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(9000))
    os.mkfifo(videos / "pipe.mp4")
    encode(videos / "long.mp4", numbered(100, 32, 32), fps=1)
    settings = Settings(dtype="float32", batch_size=4, workers=2, timeout=3.0, max_duration=60.0)
    outcomes = extract_own(videos, tmp_path / "out", "npy", weights, settings)
    assert {o.id: str(o.kind or o.status) for o in outcomes} == {
        "a": "ok",
        "deep/a": "ok",
        "deep/b": "ok",
        "long": "overlong",
        "noise": "corrupt",
        "pipe": "timeout",
    }


def test_the_command(
    tmp_path: Path, weights: dict[str, Path], videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["extract", "--input", str(videos), "--output", str(tmp_path / "out")]
    arguments += ["--resnet152", str(weights["2d"]), "--resnext101", str(weights["3d"])]
    arguments += ["--dtype", "float32", "--workers", "2"]
    with caplog.at_level(logging.INFO):
        first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert first.output == "3 videos: 3 ok\n"
    assert "3/3 videos: 3 ok, " in caplog.text
    assert "s of video a second" in caplog.text

    (videos / "noise.mp4").write_bytes(b"no video" * 99)
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 1
    assert second.output.startswith("noise: corrupt: noise.mp4: ")
    assert second.output.endswith("4 videos: 3 present, 1 corrupt\n")


def spied(begin: Any, shapes: list[tuple[int, ...]]) -> Any:
    def spy(room: Any, number: int, planes: Any) -> Any:
        shapes.append((number, *room.shape[1:]))
        return begin(room, number, planes)

    return spy


def test_batches_mix_videos_and_repeat_to_the_bit(
    weights: dict[str, Path], videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast decoders, slow decoders: the same batches, whatever comes first."""
    paths = [videos / "a.mp4", videos / "deep/a.mkv", videos / "deep/b.mp4"]
    runs = []
    for _ in range(2):
        made = Engine(weights, QUICK)
        shapes: list[tuple[int, ...]] = []
        for runner in made.runners:
            monkeypatch.setattr(runner, "begin", spied(runner.begin, shapes))
        finished = list(made.vectors_of([Video(p.stem, p) for p in paths]))
        vectors = [v.whole(n).tobytes() for v in finished for n in (0, 1)]
        runs.append((shapes, vectors))
    assert runs[0] == runs[1]
    assert (3, 16, 112, 112, 3) in runs[0][0]
    assert sum(shape[0] for shape in runs[0][0] if len(shape) == 5) == 7
    assert sum(len(shape) == 5 for shape in runs[0][0]) == 3, "7 clips of 3 videos, by 3"
    assert "wait" in made.report(0.0)


def test_mode_fast_is_close_to_exact(
    tmp_path: Path, weights: dict[str, Path], videos: Path
) -> None:
    for mode in ("exact", "fast"):
        settings = Settings(mode=mode, dtype="float32", workers=2)
        extract_own(videos, tmp_path / mode, "npy", weights, settings)
    for path in (tmp_path / "exact").rglob("*.npy"):
        exact = np.load(path).astype(float)
        fast = np.load(tmp_path / "fast" / path.relative_to(tmp_path / "exact")).astype(float)
        assert (exact * fast).sum(1).min() > 0.999
    with pytest.raises(UserError, match="unknown mode quick"):
        extract_own(videos, tmp_path / "x", "npy", weights, Settings(mode="quick"))
    with pytest.raises(UserError, match="unknown format csv"):
        extract_own(videos, tmp_path / "x", "csv", weights, QUICK)


def held() -> float:
    """MiB of this process and its children, what they share counted once."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    lines = [
        line
        for pid in (me, *children)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    ]
    return sum(int(line.split()[1]) for line in lines) / 1024


@pytest.mark.heavy
def test_memory_does_not_grow_with_a_videos_length(
    tmp_path: Path, weights: dict[str, Path]
) -> None:
    """2,000 s, whose frames the official extractor holds in 1.8 GB, or 7.2 GB as float32."""
    path = encode(tmp_path / "long.mp4", numbered(10_000, 32, 24), fps=5)
    made = Engine(weights, Settings(dtype="float32", workers=2))
    before, most = held(), []
    begin = made.runners[1].begin

    def measured(room: Any, number: int, planes: Any) -> Any:
        most.append(held())
        return begin(room, number, planes)

    made.runners[1].begin = measured  # type: ignore[method-assign]
    (video,) = made.vectors_of([Video("long", path)])
    assert video.outcome().kind is None
    assert [len(video.whole(n)) for n in (0, 1)] == [2000, 3000]
    assert max(most) - before < 500
    log = logging.getLogger(__name__)
    log.info("%.0f MiB beyond the networks", max(most) - before)
