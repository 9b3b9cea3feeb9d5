"""The features stage: both tables, their layout, failures that stay with one video, repeats."""

import hashlib
import logging
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from howto100m import tables
from howto100m.devices import choose_device, claim_device
from howto100m.features import engine, inference, resnext101
from howto100m.features.decode import rows
from howto100m.features.decoders import Decoder
from howto100m.features.engine import Engine, Settings, Video
from howto100m.features.extract import extract_features
from howto100m.features.inference import choose_dtype, cpu_has_bfloat16
from howto100m.features.pairs import FeatureTable
from howto100m.features.sampling import CLIPS_3D, Form
from howto100m.features.weights import fetch_weights, make_weights
from howto100m.kinds import StageStopped, UserError
from howto100m.shards import read_table, write_table
from test_features_decode import encode as pictures
from test_features_decode import needs_ffmpeg, remade
from test_features_planes import changing

COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 200), "tall": (90, 180, 60), "long": (90, 90, 90)}
FRAMES = {"red": 30, "blue": 55, "tall": 30, "long": 80}
SIZES = {"red": (48, 64), "blue": (48, 64), "tall": (64, 48), "long": (48, 64)}


def encode(path: Path, name: str) -> Path:
    rng = np.random.default_rng(len(name))
    height, width = SIZES[name]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(FRAMES[name]):
            noise = rng.integers(-40, 40, (height, width, 1))
            picture = (np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@dataclass(frozen=True)
class World:
    videos: dict[str, Path]
    resnet152: Path
    resnext101: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    videos = {name: encode(folder / f"{name}.mp4", name) for name in COLOURS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("howto100m.features.weights.ROWS", 1)
        for network in ("resnet152", "resnext101"):
            make_weights(network, [videos["red"], videos["blue"]], 3, folder / f"{network}.pth")
    return World(videos, folder / "resnet152.pth", folder / "resnext101.pth")


@dataclass(frozen=True)
class Stage:
    """One run of the stage in a folder."""

    world: World
    folder: Path

    def run(
        self,
        videos: dict[str, Path],
        discard_media: bool = False,
        max_failed: float = 0.5,
        **settings: Any,
    ) -> "Stage":
        rows = [
            {
                "video_id": name,
                "path": str(path),
                "bytes": path.stat().st_size if path.exists() else 0,
                "sha256": "",
                "width": 64,
                "height": 48,
                "duration": 1.0,
            }
            for name, path in videos.items()
        ]
        write_table(self.folder / "media.parquet", rows, tables.MEDIA)
        extract_features(
            self.folder / "media.parquet",
            self.world.resnet152,
            self.world.resnext101,
            self.path("2d"),
            self.path("3d"),
            self.path("status"),
            Settings(**{"dtype": "float32", "batch_size": 4, "workers": 2} | settings),
            discard_media=discard_media,
            max_failed=max_failed,
        )
        return self

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"

    def vectors(self, name: str, video: str) -> np.ndarray[Any, np.dtype[np.float16]]:
        return FeatureTable.open(self.path(name)).rows(video)

    def ids(self, name: str) -> list[str]:
        file = pq.ParquetFile(self.path(name))
        groups = [file.read_row_group(g)["video_id"] for g in range(file.num_row_groups)]
        assert all(len(g.unique()) == 1 for g in groups)
        return [g[0].as_py() for g in groups]

    def fared(self) -> dict[str, str]:
        rows = read_table(self.path("status")).to_pylist()
        return {row["id"]: row["kind"] or row["status"] for row in rows}


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Stage:
    return Stage(world, tmp_path)


def zero_copy(path: Path, group: int) -> np.ndarray[Any, np.dtype[np.float16]]:
    """The vectors of a row group straight from the file: one page, after its header."""
    meta = pq.ParquetFile(path).metadata.row_group(group)
    column = meta.column(3)
    size = meta.num_rows * 2 * tables.FEATURE_DIM
    start = column.data_page_offset + column.total_uncompressed_size - size
    return np.memmap(path, "<f2", "r", start, (meta.num_rows, tables.FEATURE_DIM))


@pytest.mark.heavy
def test_tables_layout_and_repeat(stage: Stage, tmp_path: Path, world: World) -> None:
    stage.run(world.videos)
    assert stage.fared() == dict.fromkeys(world.videos, "ok")
    assert {name: len(stage.vectors("2d", name)) for name in FRAMES} == {
        "red": 1, "blue": 2, "tall": 1, "long": 3,
    }  # fmt: skip
    assert {name: len(stage.vectors("3d", name)) for name in FRAMES} == {
        "red": 2, "blue": 4, "tall": 2, "long": 5,
    }  # fmt: skip
    for name, rate in (("2d", 1.0), ("3d", 1.5)):
        table, file = read_table(stage.path(name)), pq.ParquetFile(stage.path(name))
        assert table.schema.equals(tables.FEATURES)
        assert stage.ids(name) == list(world.videos)
        assert table["start"].to_numpy() == pytest.approx(table["index"].to_numpy() / rate)
        for group, video in enumerate(world.videos):
            column = file.metadata.row_group(group).column(3)
            assert column.compression == "UNCOMPRESSED"
            assert not column.has_dictionary_page
            assert np.array_equal(zero_copy(stage.path(name), group), stage.vectors(name, video))
            assert file.metadata.row_group(group).column(0).statistics.min == video
    notes = read_table(stage.path("3d")).schema.metadata
    assert notes[b"network"] == b"3D ResNeXt-101"
    sha256 = hashlib.sha256(world.resnext101.read_bytes()).hexdigest()
    assert notes[b"weights_sha256"] == sha256.encode()
    expected = {b"mode": b"exact", b"rate": b"1.5", b"mean": b"110.6,103.2,96.3"}
    expected |= {b"dtype": b"float32", b"normalised": b"no"}
    assert {key: notes[key] for key in expected} == expected

    again = Stage(world, tmp_path / "again").run(world.videos)
    for name in ("2d", "3d"):
        assert again.path(name).read_bytes() == stage.path(name).read_bytes()


@pytest.mark.heavy
def test_vectors_are_those_of_the_plain_network(stage: Stage, world: World) -> None:
    """Batches across videos, folding and channel order change nothing but the last digits."""
    stage.run({name: world.videos[name] for name in ("blue", "red")})
    network = resnext101.load(world.resnext101)
    for name in ("blue", "red"):
        clips = [row.pixels for row in rows(world.videos[name], [CLIPS_3D])]
        with torch.no_grad():
            plain = network(torch.from_numpy(np.stack(clips))).numpy()
        ours = stage.vectors("3d", name).astype(np.float32)
        cosine = (
            (plain * ours).sum(1) / np.linalg.norm(plain, axis=1) / np.linalg.norm(ours, axis=1)
        )
        assert cosine.min() > 0.9999
        assert np.abs(plain - ours).max() < 2e-3 * np.abs(plain).max()


def test_planes_give_the_vectors_of_rgb(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, in mode exact; a video that changes its size midway is decoded again as RGB."""
    videos = [*world.videos.values(), changing(tmp_path)]
    weights = {"2d": world.resnet152, "3d": world.resnext101}
    settings = Settings(dtype="float32", batch_size=4, workers=2)
    sent: list[Form] = []
    begin = Decoder.begin

    def noted(decoder: Decoder, path: Path, work: str = "decode", form: Form | None = None) -> None:
        sent.append(form or decoder.decoding.form)
        begin(decoder, path, work, form)

    monkeypatch.setattr(Decoder, "begin", noted)
    found = []
    for form in (Form.RGB, Form.EXACT):
        running = Engine(weights, settings)
        assert running.form is Form.RGB
        running.form = form
        ended = list(running.vectors_of([Video(path.stem, path) for path in videos]))
        assert [video.outcome().kind for video in ended] == [None] * len(videos)
        found.append([[video.whole(network) for network in (0, 1)] for video in ended])
    for rgb, planes in zip(*found, strict=True):
        for a, b in zip(rgb, planes, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert sent == [Form.RGB] * len(videos) + [Form.EXACT] * len(videos) + [Form.RGB]


@needs_ffmpeg
def test_vectors_stay_in_order_when_colours_change_midway(world: World, tmp_path: Path) -> None:
    """Planes of another range have batches of their own, full before the last of the first is."""
    path = tmp_path / "changing.ts"
    for second, level, full in ((0, 40, 0), (3, 220, 1)):
        plain = pictures(tmp_path / "part.ts", [np.full((48, 64, 3), level, np.uint8)] * 75)
        words = ["-bsf:v", f"h264_metadata=video_full_range_flag={full}"]
        part = remade(plain, "-c", "copy", *words, "-output_ts_offset", str(second))
        with path.open("ab") as file:
            file.write(part.read_bytes())
    found = []
    for mode in ("exact", "fast"):
        running = Engine(
            {"3d": world.resnext101}, Settings(mode, dtype="float32", batch_size=3, workers=2)
        )
        (video,) = running.vectors_of([Video("v", path)])
        assert video.outcome().kind is None
        found.append(video.whole(0))
    exact, fast = found
    assert len(exact) == len(fast) == 9
    assert np.abs(exact[0] - exact[-1]).max() > 0.1
    whole = [0, 1, 2, 3, 5, 6, 7, 8]  # in between both meet in one clip, which has one range
    np.testing.assert_allclose(exact[whole], fast[whole], atol=0.01)


def test_batches_that_wait_for_rows_take_little_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every size of frames has a batch of its own; here one alone may wait."""
    waiting: list[int] = []
    begin = inference.Runner.begin

    def noted(runner: inference.Runner, room: Any, number: int, planes: Any = None) -> Any:
        waiting.append(number)
        return begin(runner, room, number, planes)

    monkeypatch.setattr(inference.Runner, "begin", noted)
    found, batches = [], []
    for room in (engine.ROOM, 1):
        monkeypatch.setattr(engine, "ROOM", room)
        waiting.clear()
        running = Engine(
            {"2d": world.resnet152}, Settings(dtype="float32", batch_size=4, workers=2)
        )
        videos = [Video(name, path) for name, path in world.videos.items()]
        ended = list(running.vectors_of(videos))
        found.append([video.whole(0) for video in ended])
        batches.append(list(waiting))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert batches == [[4, 1, 2], [3, 1, 3]], "the wide ones went when the tall one came"


@pytest.mark.heavy
def test_a_bad_video_leaves_the_others_whole(
    stage: Stage, tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video at all" * 99)
    cut = tmp_path / "cut.mkv"
    content = world.videos["long"].read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    kept = tmp_path / "red.mp4"
    kept.write_bytes(world.videos["red"].read_bytes())
    with caplog.at_level(logging.INFO):
        stage.run(
            {"noise": noise, "red": kept, "gone": tmp_path / "gone.mp4", "cut": cut},
            discard_media=True,
            max_failed=0.75,
        )
    assert stage.fared() == {"noise": "corrupt", "red": "ok", "gone": "no_media", "cut": "corrupt"}
    assert stage.ids("2d") == stage.ids("3d") == ["red"]
    assert not kept.exists(), "its features are there"
    assert noise.exists(), "failed: left for a look"
    networks = [float(found) for found in re.findall(r"(?:152|101) ([\d.]+) s \(", caplog.text)]
    seconds = read_table(stage.path("status"), ["seconds"])["seconds"].to_pylist()
    assert sum(seconds) >= sum(networks) - 0.1 > 0, "decoding and a share of the networks' time"
    spent = r"start .* s, .* in all, decode .* s, wait .* s, copy .* s, write .* s, ResNet-152 .* s"
    assert re.search(spent + r" \(.* rows, .*/s\), 3D ResNeXt-101 .* s", caplog.text)

    with pytest.raises(StageStopped, match="2 of 2 items failed"):
        Stage(world, tmp_path / "all").run({"noise": noise, "gone": tmp_path / "gone.mp4"})
    assert not (tmp_path / "all" / "2d.parquet").exists()


@pytest.mark.heavy
def test_numbers_that_the_table_cannot_hold_are_not_finite(
    stage: Stage, tmp_path: Path, world: World
) -> None:
    state = torch.load(world.resnext101, weights_only=True)
    state["layer4.2.bn3.bias"][5] = 1e6
    torch.save(state, tmp_path / "large.pth")
    large = replace(world, resnext101=tmp_path / "large.pth")
    Stage(large, stage.folder).run({"red": world.videos["red"]}, max_failed=1.0)
    assert stage.fared() == {"red": "not_finite"}
    assert stage.ids("2d") == stage.ids("3d") == []


@pytest.mark.heavy
def test_weights_with_nan_are_refused(stage: Stage, tmp_path: Path, world: World) -> None:
    state = torch.load(world.resnext101, weights_only=True)
    state["bn1.bias"][5] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    bad = replace(world, resnext101=tmp_path / "nan.pth")
    with pytest.raises(UserError, match=r"3D ResNeXt-101 gives NaN .*damaged"):
        Stage(bad, stage.folder).run({"red": world.videos["red"]}, max_failed=1.0)


@pytest.mark.heavy
def test_a_network_that_is_off_is_refused(
    stage: Stage, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = inference.ready

    def unsound(*args: Any) -> Any:
        network = sound(*args)
        with torch.no_grad():
            network.net.conv1.weight[::2] *= -1
        return network

    monkeypatch.setattr(inference, "ready", unsound)
    monkeypatch.setattr(inference, "cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for dtype, named in (("float32", "float32"), ("bfloat16", "bfloat16"), ("auto", "bfloat16")):
        with pytest.raises(UserError, match=rf"ResNet-152 in torch\.{named} on cpu is off: cosine"):
            stage.run({"red": world.videos["red"]}, dtype=dtype)
    assert not stage.path("2d").exists()


@pytest.mark.heavy
def test_made_weights_tell_scenes_apart(world: World) -> None:
    runner = inference.Runner(
        resnext101.load(world.resnext101), "3D", CLIPS_3D, torch.device("cpu"), torch.float32
    )
    clips = [row.pixels for n in COLOURS for row in rows(world.videos[n], [CLIPS_3D])]
    assert len(clips) == 13
    seen = torch.from_numpy(np.stack([clips[i] for i in (0, 2, 3, 6)]))
    vectors = runner.begin(seen, len(seen)).result()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors.T
    others = [cosine[0, 1], cosine[0, 3], cosine[1, 3]]
    assert cosine[1, 2] > max(others), "two clips of the blue video, and three videos"
    assert max(others) < 0.9


def test_weights_are_fetched_whole_or_not_at_all(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    fetch_weights(str(tmp_path / "a.pth"), tmp_path / "new" / "b.pth")
    assert (tmp_path / "new" / "b.pth").read_bytes() == (tmp_path / "a.pth").read_bytes()

    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(UserError, match=r"page\.html is not a PyTorch weights file"):
        fetch_weights(str(tmp_path / "page.html"), tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"none\.pth cannot be had"):
        fetch_weights(str(tmp_path / "none.pth"), tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/w\.pth cannot be had"):
        fetch_weights("http://127.0.0.1:9/w.pth", tmp_path / "c.pth")
    assert not list(tmp_path.glob("*c.pth*"))


def test_unknown_network_and_undecodable_videos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown network vgg"):
        make_weights("vgg", [], 0, tmp_path / "w.pth")
    with pytest.raises(UserError, match="none of 1 videos can be decoded"):
        make_weights("resnext101", [tmp_path / "none.mp4"], 0, tmp_path / "w.pth")


def test_jobs_side_by_side_take_a_gpu_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What CUDA_VISIBLE_DEVICES hides, PyTorch does not count."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=f"GPU-{n}")
    )
    assert claim_device("cpu") == torch.device("cpu")
    assert [claim_device("auto") for _ in range(2)] == [torch.device("cuda", n) for n in (0, 1)]
    assert not caplog.text
    assert claim_device("cuda") == torch.device("cuda", 0)
    assert "every GPU is claimed" in caplog.text


def test_device_and_dtype(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_dtype("float16", cpu) is torch.float16
    with pytest.raises(UserError, match="unknown device tpu"):
        choose_device("tpu")
    with pytest.raises(UserError, match="unknown dtype half"):
        choose_dtype("half", cpu)
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: x\nflags\t\t: fpu avx512f avx512_bf16\n")
    assert cpu_has_bfloat16(info)
    info.write_text("flags\t\t: fpu avx512f\n")
    assert not cpu_has_bfloat16(info)
    assert not cpu_has_bfloat16(tmp_path / "none")
