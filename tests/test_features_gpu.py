"""What the features stage asks of a GPU, without one: all on its device, in the right order."""

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from howto100m.features import resnet152, resnext101
from howto100m.features.edits import channels_first, fold_time, merge_groups, pad_channels
from howto100m.features.fused import fuse_by_cudnn
from howto100m.features.inference import Runner, ready
from howto100m.features.networks import TRUNK, Extractor
from howto100m.features.planes import to_rgb
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Planes, Sampling
from howto100m.features.tuning import (
    GRAPHS,
    Change,
    Graph,
    Kind,
    Recorded,
    Run,
    changes,
    edited,
    faster,
)
from howto100m.kinds import UserError
from numberless import CUDA, moved, numberless

CPU = torch.device("cpu")
Edit = Callable[[Extractor], bool]
EDITS: list[Edit] = [channels_first, merge_groups, pad_channels, fold_time]
LITTLE = Sampling(rate=1, size=32, crop=True, group=1)


class Bottleneck(nn.Module):
    """As both networks' blocks, with two groups of four channels."""

    def __init__(self, dims: int, project: bool):
        super().__init__()
        conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        self.conv1, self.bn1 = conv(8, 8, 1), nn.Identity()
        self.conv2, self.bn2 = conv(8, 8, 3, 1, 1, groups=2), nn.Identity()
        self.conv3, self.bn3 = conv(8, 8, 1), nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(conv(8, 8, 1), nn.Identity()) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def little(dims: int = 2) -> Extractor:
    """A network of the same build as both, that takes no time."""
    torch.manual_seed(0)
    net = nn.Module()
    conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
    for name in TRUNK:
        net.add_module(name, nn.Identity())
    net.conv1 = conv(3, 8, 3, 2, 1)
    net.relu = nn.ReLU(inplace=True)
    net.layer1 = nn.Sequential(Bottleneck(dims, True), Bottleneck(dims, False))
    return Extractor(net, (100.0, 110.0, 120.0), (50.0, 50.0, 50.0)).eval()


def little_rows(number: int, dims: int = 2, size: int = 32) -> Tensor:
    shape = (number, *([4] if dims == 3 else []), size, size, 3)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def as_they_are(_: Extractor) -> bool:
    return True


@pytest.mark.parametrize("edit", [as_they_are, *EDITS])
@pytest.mark.parametrize(
    ("build", "shape"), [(resnet152.build, (224, 298)), (resnext101.build, (16, 112, 112))]
)
def test_both_networks_stay_on_the_gpu(
    build: Callable[[], Extractor], shape: tuple[int, ...], edit: Edit
) -> None:
    network = ready(build().eval(), CPU, torch.float16)
    edit(network)
    with numberless() as mode:
        moved(network, mode)
        layouts = noted_layouts(network)
        for dtype in (torch.uint8, torch.float32):
            vectors = network(torch.empty((2, *shape, 3), dtype=dtype, device=CUDA))
            assert (vectors.device, vectors.dtype) == (CUDA, torch.float32)
            assert vectors.shape == (2, 2048)
    assert layouts == {"weights": {edit is channels_first}, "maps": {edit is channels_first}}


def noted_layouts(network: Extractor) -> dict[str, set[bool]]:
    """Whether convolutions' weights, and what they take and give, have their channels first."""
    found: dict[str, set[bool]] = {"weights": set(), "maps": set()}

    def first(tensor: Tensor) -> bool:
        return tensor.is_contiguous() and tensor.shape[1] > 1

    def note(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        weight = layer.weight
        if math.prod(weight.shape[2:]) > 1 and weight.shape[1] > 1:
            found["weights"].add(first(weight))
        found["maps"] |= {first(given[0]), first(result)}

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(note)
    return found


@pytest.mark.parametrize("sampling", [FRAMES_2D, CLIPS_3D])
def test_planes_become_rgb_on_the_gpu(sampling: Sampling) -> None:
    planes = Planes((640, 360), (140, 0, 360, 360), "bt709", False)
    group = [sampling.group] if sampling.group > 1 else []
    with numberless():
        rows = torch.empty((2, *group, planes.bytes), dtype=torch.uint8, device=CUDA)
        assert to_rgb(rows, planes, sampling).device == CUDA


@pytest.mark.parametrize(
    ("dims", "edits"),
    [(dims, [edit]) for edit in EDITS for dims in (2, 3) if (dims, edit) != (2, fold_time)]
    + [(2, EDITS[:3]), (3, EDITS), (3, [fold_time, channels_first])],
)
def test_edits_leave_the_vectors_as_they_are(dims: int, edits: Sequence[Edit]) -> None:
    network = little(dims).double()
    changed = network
    for edit in edits:
        changed = edited(changed, edit)
        assert changed
    rows = little_rows(2, dims)
    torch.testing.assert_close(changed(rows), network(rows))
    assert network.spare == 0 and network.net.layer1[0].conv2.groups == 2


def test_groups_are_merged_to_a_tensor_cores_size() -> None:
    network = resnext101.build()
    before = network.net.layer1[0].conv2.weight
    merge_groups(network)
    blocks = [getattr(network.net, f"layer{level}")[0] for level in (1, 2, 3, 4)]
    assert [block.conv2.groups for block in blocks] == [4, 8, 16, 32]
    assert {block.conv2.weight.shape[1] for block in blocks} == {32}
    after = blocks[0].conv2.weight
    assert int((after != 0).sum()) == before.numel()
    assert pad_channels(network)
    assert network.net.conv1.weight.shape[1] == 8 and network.spare == 5
    assert edited(resnet152.build(), merge_groups) is None, "it has no groups"


@pytest.mark.parametrize("padded", [False, True])
def test_the_official_stem_has_its_frames_as_channels(padded: bool) -> None:
    network = resnext101.build().eval()
    torch.manual_seed(0)
    clips = torch.randn(2, 3, 5, 12, 10)
    expected = network.net.conv1(clips)
    assert not padded or pad_channels(network)
    assert fold_time(network)
    assert network.net.conv1.weight.shape == (64, 24, 7, 7) and network.spare == 0
    torch.testing.assert_close(network.net.conv1(clips), expected, rtol=1e-4, atol=1e-5)
    assert not fold_time(network), "it is folded already"
    assert edited(network, pad_channels) is None
    assert edited(resnet152.build(), fold_time) is None, "it sees pictures"


def named(op: Any, does: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A stand-in for an operation that takes its arguments by place, as PyTorch declares them."""
    names = [argument.name for argument in op.default._schema.arguments]
    return lambda *given: does(**dict(zip(names, given, strict=True)))


def convolve(
    self: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    run = torch.conv2d if weight.ndim == 4 else torch.conv3d
    return run(self, weight, bias, stride, padding, dilation, groups)


@pytest.mark.parametrize("dims", [2, 3])
def test_cudnn_is_asked_for_the_same_blocks(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def relu(**given: Any) -> Tensor:
        asked.append("relu")
        return convolve(**given).relu()

    def add_relu(z: Tensor, alpha: float, **given: Any) -> Tensor:
        asked.append("add")
        return (convolve(**given) + alpha * z).relu()

    ops = torch.ops.aten
    monkeypatch.setattr(torch, "cudnn_convolution_relu", named(ops.cudnn_convolution_relu, relu))
    monkeypatch.setattr(
        torch, "cudnn_convolution_add_relu", named(ops.cudnn_convolution_add_relu, add_relu)
    )
    network = little(dims).double()
    changed = edited(network, fuse_by_cudnn)
    assert changed
    rows = little_rows(2, dims)
    torch.testing.assert_close(changed(rows), network(rows))
    assert asked == ["relu", "add"] * 2, "grouped convolutions, and the first, are PyTorch's"


class Tried:
    """Changes of made-up rates; what each was made of."""

    def __init__(self, network: Extractor):
        self.names: dict[Any, str] = {network: "plain"}
        self.rates: dict[Any, float] = {network: 10.0}
        self.wrong: list[Any] = []

    def change(self, name: str, kind: Kind, rate: float, gain: float = 1.02) -> Change:
        def apply(run: Any) -> Run:
            fast: Run = deepcopy(run) if kind is Kind.EDIT else partial(run)
            self.names[fast], self.rates[fast] = f"{self.names[run]} > {name}", rate
            if name == "wrong":
                self.wrong.append(fast)
            return fast

        return Change(name, kind, apply, gain)


def fails(run: Run) -> Run:
    raise RuntimeError("no such kernel\nand much more")


def test_what_is_faster_is_kept_and_what_is_off_or_fails_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = little()
    tried = Tried(network)
    monkeypatch.setattr("howto100m.features.tuning.rate", lambda run, rows, wait: tried.rates[run])
    tries = [
        tried.change("slower", Kind.EDIT, 9.0),
        tried.change("edit", Kind.EDIT, 20.0),
        Change("impossible", Kind.EDIT, fails),
        Change("nothing to do", Kind.EDIT, lambda run: None),
        tried.change("wrong", Kind.EDIT, 100.0),
        tried.change("hardly", Kind.EDIT, 20.3),
        tried.change("form", Kind.FORM, 30.0),
        tried.change("other form", Kind.FORM, 40.0),
        tried.change("slow form", Kind.FORM, 35.0),
        tried.change("wrap", Kind.WRAP, 39.5, gain=0.98),
    ]
    with caplog.at_level("INFO"):
        best, kept = faster(
            network,
            tries,
            little_rows(2),
            lambda run: "cosine 0.5" if run in tried.wrong else "",
            lambda: None,
        )
    assert kept == ["edit", "other form", "wrap"]
    assert tried.names[best] == "plain > edit > other form > wrap"
    assert "impossible cannot be had here: no such kernel" in caplog.text
    assert "much more" not in caplog.text
    assert "wrong: cosine 0.5" in caplog.text
    assert "9.0 rows/s with slower\n" in caplog.text


def test_what_is_tried_where() -> None:
    def names(tune: str, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> list[str]:
        return [change.name for change in changes(tune, device, dtype)]

    edits = [edit.__name__.replace("_", " ") for edit in EDITS]
    assert names("quick", CUDA) == [*edits, "fuse by cudnn", "record"]
    assert names("full", CUDA) == [*edits, "fuse by cudnn", "compile", "record"]
    assert names("quick", CUDA, torch.float16) == [*edits, "record"], "ReLU would hide overflow"
    assert not names("none", CUDA) and not names("full", CPU)


class Recorder:
    """A stand-in for CUDA graphs: runs the network anew, from one place into another."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, run: Run, rows: Tensor) -> Graph:
        self.shapes.append(tuple(rows.shape))
        taken, given = rows.clone().zero_(), run(rows).zero_()

        def replay() -> None:
            given.copy_(run(taken))

        return taken, replay, given


def test_shapes_that_come_again_are_recorded() -> None:
    network, recorder = little(), Recorder()
    recorded = Recorded(network, recorder)
    batches = [little_rows(3), little_rows(3).flip(0), 255 - little_rows(3)]
    with torch.inference_mode():
        vectors = [recorded(rows) for rows in batches]
        for got, rows in zip(vectors, batches, strict=True):
            torch.testing.assert_close(got, network(rows))
        assert recorder.shapes == [(3, 32, 32, 3)], "at the second batch, once"
        for size in range(40, 40 + 2 * GRAPHS):
            for _ in range(2):
                rows = little_rows(3, size=size)
                torch.testing.assert_close(recorded(rows), network(rows))
    assert len(recorder.shapes) == GRAPHS, "memory for graphs is bounded"


def test_a_shape_that_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """But where not even the first can be, there is nothing to keep."""
    network, tries, freed = little(), [], []

    def run_it(rows: Tensor) -> Tensor:
        assert all(held() is None for held in freed), "what the try took is free again"
        return network(rows)

    def record(run: Run, rows: Tensor) -> Graph:
        tries.append(rows.shape[1])
        if rows.shape[1] != 32:
            held = rows.clone()
            freed.append(weakref.ref(held))
            raise torch.OutOfMemoryError("too much")
        return Recorder()(run, rows)

    recorded = Recorded(run_it, record)
    with torch.inference_mode():
        for size in (32, 40):
            for _ in range(4):
                rows = little_rows(3, size=size)
                torch.testing.assert_close(recorded(rows), network(rows))
        assert tries == [32, 40]
        assert "(3, 40, 40, 3) cannot be recorded: too much" in caplog.text
        hopeless = Recorded(network, record)
        hopeless(little_rows(3, size=40))
        with pytest.raises(torch.OutOfMemoryError):
            hopeless(little_rows(3, size=40))


def test_a_recording_that_gives_something_else_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, rows = little(), little_rows(3)

    def record(run: Run, rows: Tensor) -> Graph:
        return rows.clone(), lambda: None, torch.full((3, 8), 7.0)

    tries = [Change("record", Kind.WRAP, lambda run: Recorded(run, record), gain=0.0)]

    @torch.inference_mode()
    def check(run: Run) -> str:
        return "" if torch.equal(run(rows), network(rows)) else "off"

    best, kept = faster(network, tries, rows, check, lambda: None)
    assert best is network and not kept
    assert "record: off" in caplog.text


class Clock:
    """Stand-ins for CUDA's streams and events, that note what is done in which order."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stream = "main"

    def event(self, enable_timing: bool = False, blocking: bool = False) -> "Clock.Event":
        assert enable_timing and blocking
        return Clock.Event(self)

    class Event:
        def __init__(self, clock: "Clock"):
            self.clock = clock

        def record(self, stream: Any = None) -> None:
            self.at = len(self.clock.notes)
            self.clock.notes.append(f"mark on {stream.name if stream else self.clock.stream}")

        def synchronize(self) -> None:
            self.clock.notes.append("wait")

        def elapsed_time(self, later: "Clock.Event") -> float:
            assert later.at > self.at
            return 1000.0

    class Stream:
        def __init__(self, clock: "Clock", name: str):
            self.clock, self.name = clock, name

        def wait_stream(self, other: "Clock.Stream") -> None:
            self.clock.notes.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def on(self, stream: "Clock.Stream") -> Iterator[None]:
        before, self.stream = self.stream, stream.name
        yield
        self.stream = before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """PyTorch's CUDA, on the CPU: a device that says it is a GPU."""
    clock = Clock()
    side, main = Clock.Stream(clock, "copies"), Clock.Stream(clock, "main")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device=None: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: main)
    monkeypatch.setattr(torch.cuda, "stream", clock.on)
    monkeypatch.setattr(torch.cuda, "Event", clock.event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    real_to, real_empty = Tensor.to, torch.empty

    def to(tensor: Tensor, *where: Any, **how: Any) -> Tensor:
        device = where and isinstance(where[0], torch.device) and where[0].type == "cuda"
        if device or where[:1] == ("cpu",):
            clock.notes.append(f"copy on {clock.stream}" if device else "fetch")
            return real_to(tensor, CPU, copy=True)
        return real_to(tensor, *where, **how)

    def empty(*size: Any, pin_memory: bool = False, **how: Any) -> Tensor:
        assert pin_memory or how.get("dtype") is not torch.uint8, "copied while others work"
        return real_empty(*size, **how)

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr("howto100m.features.inference.torch.empty", empty)
    monkeypatch.setattr(nn.Module, "to", lambda module, *where, **how: module)
    return clock


def sent(runner: Runner, rows: Sequence[Tensor]) -> list[Any]:
    works = []
    for batch in rows:
        room = runner.room(batch.shape[1:])
        room[: len(batch)] = batch
        works.append((room, runner.begin(room, len(batch))))
    vectors = []
    for room, work in works:
        vectors.append(work.result())
        runner.give_back(room)
    return vectors


def test_a_gpu_works_on_batches_while_the_next_are_copied(clock: Clock) -> None:
    network = little()
    with torch.inference_mode():
        runner = Runner(network, "Little", LITTLE, CUDA, torch.float32, 4)
        clock.notes.clear()
        sizes: list[int] = []
        runner.network.register_forward_hook(lambda net, given, found: sizes.append(len(found)))
        batches = [little_rows(4), little_rows(4).flip(0), little_rows(2)]
        vectors = sent(runner, batches)
        for got, rows in zip(vectors, batches, strict=True):
            torch.testing.assert_close(torch.from_numpy(got), network(rows))
    one = ["mark on copies", "copy on copies", "mark on copies", "main waits for copies"]
    one += ["mark on main", "fetch", "mark on main"]
    assert sizes == [4, 4, 4], "kernels are those of full batches"
    assert clock.notes == one * 3 + ["wait"] * 3, "no batch waits for one that came later"
    assert (runner.rows, runner.copying, runner.seconds) == (10, 3.0, 3.0)


def test_memory_for_batches_is_used_again(clock: Clock) -> None:
    runner = Runner(little(), "Little", LITTLE, CUDA, torch.float32, 4)
    rooms = {size: runner.room((size, size, 3)) for size in range(8, 13)}
    for room in rooms.values():
        runner.give_back(room)
    assert runner.room((12, 12, 3)) is rooms[12]
    assert runner.room((12, 12, 3)) is not rooms[12], "it is taken"
    assert runner.room((10, 10, 3)) is rooms[10]
    assert runner.room((8, 8, 3)) is not rooms[8], "a few shapes are kept, the last ones"


def test_a_gpu_whose_kernels_are_off_is_refused(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the full batch, one vector that is off is enough."""

    def off(network: Extractor, device: torch.device, dtype: torch.dtype) -> Run:
        def run(rows: Tensor) -> Tensor:
            vectors = network(rows)
            vectors[-1] = vectors[-1].flip(0) if len(rows) == 4 else vectors[-1]
            return vectors

        return run

    monkeypatch.setattr("howto100m.features.inference.ready", off)
    with pytest.raises(UserError, match=r"Little in torch.float32 on cuda:0 is off: cosine"):
        Runner(little(), "Little", LITTLE, CUDA, torch.float32, 4)


def test_a_gpu_is_tuned_by_all_that_works(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cuDNN and CUDA graphs refuse, as here where there is no GPU, is told and left out."""
    with caplog.at_level("INFO"):
        runner = Runner(little(), "Little", LITTLE, CUDA, torch.float32, 4, "quick")
    assert "fuse by cudnn cannot be had here" in caplog.text
    assert "record cannot be had here" in caplog.text
    assert set(runner.changes) <= {"channels first", "merge groups", "pad channels"}, "LITTLE is 2D"
    np.testing.assert_allclose(
        sent(runner, [little_rows(4)])[0], little()(little_rows(4)).detach(), rtol=1e-4
    )
