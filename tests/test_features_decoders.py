"""Decoding in worker processes: rows as they are, time-outs, crashes, limits, nothing left over."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from howto100m.features import decoders
from howto100m.features.decode import Row, probe, rows
from howto100m.features.decoders import Decoder, Decoding, End
from howto100m.features.sampling import CLIPS_3D, FRAMES_2D, Form
from howto100m.kinds import ItemError, Kind
from test_features_decode import cut, encode, noise, numbered

BOTH = (FRAMES_2D, CLIPS_3D)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with decoders.decoders(Decoding(BOTH, timeout=20.0, max_duration=60.0), 1) as (only,):
        yield only


def all_of(decoder: Decoder, path: Path) -> tuple[list[Row], End]:
    decoder.begin(path)
    found: list[Row] = []
    while isinstance(message := decoder.receive(), Row):
        found.append(message._replace(pixels=message.pixels.copy()))
        decoder.free()
    return found, message


@pytest.mark.parametrize("form", list(Form))
def test_rows_come_through_as_they_are(
    tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the memory holds three of them and the worker must wait."""
    monkeypatch.setattr(decoders, "MEMORY", 2 << 20)
    videos = [encode(tmp_path / f"{n}.mp4", noise(n, 96, 64)) for n in (30, 240)]
    with decoders.decoders(Decoding(BOTH, form), 1) as (decoder,):
        for path in [*videos, videos[0]]:
            found, end = all_of(decoder, path)
            wanted = list(rows(path, BOTH, form=form))
            assert end.fault is None
            assert end.seconds > 0
            assert [r.sampling for r in found] == [r.sampling for r in wanted]
            assert [r.planes for r in found] == [r.planes for r in wanted]
            assert all(
                np.array_equal(a.pixels, b.pixels) for a, b in zip(found, wanted, strict=True)
            )


def test_a_file_that_fails_is_named_and_the_next_goes_on(tmp_path: Path, decoder: Decoder) -> None:
    good = encode(tmp_path / "good.mp4", numbered(50))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(4000))
    for path, kind in (
        (tmp_path / "none.mp4", Kind.NO_MEDIA),
        (tmp_path / "noise.mp4", Kind.CORRUPT),
        (tmp_path, Kind.NO_MEDIA),
    ):
        found, end = all_of(decoder, path)
        assert not found
        assert end.fault
        assert end.fault.kind is kind
        assert len(all_of(decoder, good)[0]) == 5


def test_a_damaged_file_comes_with_a_remark(tmp_path: Path, decoder: Decoder) -> None:
    path = encode(tmp_path / "v.mp4", noise(250, 64, 48), options={"movflags": "faststart"})
    found, end = all_of(decoder, cut(path, 0.97))
    assert found
    assert end.fault is None
    assert "of 10.0 s decoded; 1 damaged packet" in end.remark


def test_a_pipe_that_says_nothing_times_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    good = encode(tmp_path / "good.mp4", numbered(50))
    with decoders.decoders(Decoding(BOTH, timeout=1.5), 1) as (decoder,):
        started = time.monotonic()
        _, end = all_of(decoder, tmp_path / "pipe.mp4")
        assert end.fault
        assert end.fault.kind is Kind.TIMEOUT
        assert 1.4 < time.monotonic() - started < 15
        decoder.decoding = Decoding(BOTH)
        assert len(all_of(decoder, good)[0]) == 5, "in a new process"


def test_a_file_that_never_ends_is_overlong(tmp_path: Path, decoder: Decoder) -> None:
    """As a live stream: no header says how long it is, and nobody closes it."""
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    stream = encode(tmp_path / "stream.ts", numbered(500, 32, 32), fps=5).read_bytes()
    stopped = threading.Event()

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file, contextlib.suppress(BrokenPipeError):
            file.write(stream)
            stopped.wait(60)

    feeder = threading.Thread(target=feed)
    feeder.start()
    decoder.decoding = Decoding(BOTH, timeout=30.0, max_duration=2.5)
    _, end = all_of(decoder, pipe)
    stopped.set()
    decoder.close()
    feeder.join(10)
    assert end.fault
    assert end.fault.kind is Kind.OVERLONG
    assert not feeder.is_alive()


def test_a_video_that_kills_its_decoder_is_corrupt(tmp_path: Path, decoder: Decoder) -> None:
    good = encode(tmp_path / "good.mp4", numbered(50))
    decoder.begin(good)
    assert isinstance(decoder.receive(), Row)
    assert decoder.process
    decoder.process.send_signal(signal.SIGSEGV)
    messages = []
    while isinstance(message := decoder.receive(), Row):
        messages.append(message)
    assert message.fault
    assert message.fault.kind is Kind.CORRUPT
    assert "SIGSEGV" in message.fault.message
    assert len(all_of(decoder, good)[0]) == 5


def test_a_look_costs_no_more_than_its_file(tmp_path: Path) -> None:
    good, pipe = encode(tmp_path / "good.mp4", numbered(50), fps=25), tmp_path / "pipe.mp4"
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    os.mkfifo(pipe)
    with decoders.decoders(Decoding(timeout=1.0), 1) as [looker]:
        for path, kind in ((pipe, Kind.TIMEOUT), (tmp_path / "bad.mp4", Kind.CORRUPT)):
            with pytest.raises(ItemError) as fault:
                looker.probe(path)
            assert fault.value.kind is kind
        looker.decoding = Decoding()
        assert looker.last_second(good) == pytest.approx(2.0)
        assert looker.process
        killer = threading.Timer(0.5, looker.process.send_signal, [signal.SIGSEGV])
        killer.start()
        with pytest.raises(ItemError, match="SIGSEGV"):
            looker.probe(pipe)
        assert looker.probe(good) == probe(good)


def test_a_decoder_that_cannot_start_is_our_fault(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    _, end = all_of(decoder, encode(tmp_path / "good.mp4", numbered(50)))
    assert end.fault
    assert end.fault.kind is Kind.BUG
    assert "exit code 1" in end.fault.message


def running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_no_process_outlives_its_block_or_its_parent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with decoders.decoders(Decoding(BOTH), 2) as pool:
        for decoder in pool:
            decoder.begin(tmp_path / "pipe.mp4")
        processes = [d.process for d in pool if d.process]
        assert len(processes) == 2
    assert all(process.poll() == -signal.SIGKILL for process in processes)

    code = (
        "import sys, time; from pathlib import Path\n"
        "from howto100m.features.decoders import *; from howto100m.features.sampling import *\n"
        "d = Decoder(Decoding((FRAMES_2D,))); d.begin(Path(sys.argv[1]))\n"
        "print(d.process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "pipe.mp4"], stdout=subprocess.PIPE
    )
    assert parent.stdout
    worker = int(parent.stdout.readline())
    time.sleep(1.0)
    assert running(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(worker), "killed with its parent, even while it hangs in a file"


def test_the_worker_starts_light() -> None:
    """No torch, no Arrow: a process of 60 MB that is there at once."""
    code = (
        "import json, sys, howto100m.features.worker as _;"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert not {"torch", "pyarrow", "rich", "typer"} & set(json.loads(answer.stdout))
