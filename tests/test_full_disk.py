"""A full disk: one clear line, nothing of what was done lost, nothing half done left."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from howto100m import tables
from howto100m.kinds import Kind, disk_full
from howto100m.sample.render import render
from howto100m.sample.world import make_world
from howto100m.shards import Journal, read_table, write_table
from howto100m.videos.verdicts import verdict

CLI = (sys.executable, "-m", "howto100m")


def run_with_room(room: int, *command: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose files can grow to `room` bytes; beyond, the system refuses to write."""
    return subprocess.run(
        [str(part) for part in command],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, room: int) -> Path:
    """Write a file that leaves so many bytes free."""
    filler, there = disk / "filler", os.statvfs(disk)
    filler.write_bytes(bytes(there.f_bavail * there.f_frsize - room))
    return filler


def subtitle_file(cues: int) -> str:
    lines = ["WEBVTT\n"]
    for n in range(cues):
        minute, second = divmod(n, 60)
        start = f"{minute:02d}:{second:02d}"
        lines.append(f"{start}.000 --> {start}.900\nchop onion number {n * 7919 % 10_007}\n")
    return "\n".join(lines)


def test_a_table_that_finds_no_room_is_one_line_and_leaves_the_old_one(tmp_path: Path) -> None:
    folder, table = tmp_path / "vtt", tmp_path / "out" / "clips.parquet"
    folder.mkdir()
    command = (*CLI, "clips", "--vtt", folder, "--output", table)
    (folder / "video000001.vtt").write_text(subtitle_file(10))
    assert run_with_room(1 << 20, *command).returncode == 0
    before = {path: path.read_bytes() for path in table.parent.iterdir()}
    (folder / "video000002.vtt").write_text(subtitle_file(3000))
    run = run_with_room(8000, *command)
    said = run.stderr.splitlines()
    assert run.returncode == 3, run.stderr
    assert said[-1].startswith("howto100m: the disk is full (")
    assert "make room and run again" in said[-1] and "Traceback" not in run.stderr
    assert {path: path.read_bytes() for path in table.parent.iterdir()} == before
    assert run_with_room(1 << 20, *command).returncode == 0


def test_on_a_disk_that_is_full_the_log_says_so_and_the_old_table_stays(disk: Path) -> None:
    """With the log on that disk too, as in a run of the workflow."""
    folder, log = disk / "vtt", disk / "clips.log"
    folder.mkdir()
    (folder / "video000001.vtt").write_text(subtitle_file(10))
    command = [*CLI, "clips", "--vtt", str(folder), "--output", str(disk / "clips.parquet")]

    def run() -> int:
        with log.open("w") as output:
            return subprocess.run(command, stdout=output, stderr=output, check=False).returncode

    assert run() == 0
    before = {path: path.read_bytes() for path in disk.glob("*.parquet")}
    (folder / "video000002.vtt").write_text(subtitle_file(3000))
    filler = fill(disk, room=16 << 10)
    assert run() == 3
    said = log.read_text().splitlines()[-1]
    assert said.startswith("howto100m: the disk is full (") and "No space left on device" in said
    assert {path: path.read_bytes() for path in disk.glob("*.parquet")} == before
    assert not list(disk.glob(".*"))
    filler.unlink()
    assert run() == 0
    assert read_table(disk / "clips.parquet").num_rows > 2000


WORK = """
import sys
from pathlib import Path
from howto100m.shards import Journal, run_items
def work(item):
    print(item)
    return [{"text": "x" * 300}]
items = {f"v{n}": f"v{n}" for n in range(10)}
run_items("videos", items, work, journal=Journal(Path(sys.argv[1]), {}))
"""


def test_a_journal_that_finds_no_room_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "00000.journal.jsonl"
    first = run_with_room(2000, sys.executable, "-c", WORK, path)
    assert first.returncode == 1 and "File too large" in first.stderr
    kept = list(Journal(path, {}).done)
    assert kept == first.stdout.split()[:-1] and 2 < len(kept) < 10
    second = run_with_room(1 << 20, sys.executable, "-c", WORK, path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == [f"v{n}" for n in range(len(kept), 10)]


def test_a_journal_on_a_full_disk_goes_on_where_it_was(disk: Path) -> None:
    path = disk / "00000.journal.jsonl"
    filler = fill(disk, room=8 << 10)  # the journal is rewritten beside itself at the start
    work = WORK.replace("300", "1500")
    first = subprocess.run(
        [sys.executable, "-c", work, path], capture_output=True, text=True, check=False
    )
    assert first.returncode == 1 and "No space left on device" in first.stderr
    filler.unlink()
    kept = list(Journal(path, {}).done)
    assert kept == first.stdout.split()[:-1] and 1 < len(kept) < 10
    second = subprocess.run([sys.executable, "-c", work, path], capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == [f"v{n}" for n in range(len(kept), 10)]


@pytest.mark.heavy
def test_downloads_go_on_after_room_was_made(tmp_path: Path, disk: Path) -> None:
    """The first video fits, the second does not; then both are there, and the first is not asked
    for again."""
    world = make_world(0, 6)
    shown = [v for v in world.videos.values() if v.media and v.seconds <= 20][:2]
    sizes = []
    for video in shown:
        path = tmp_path / "world" / "media" / f"{video.video_id}.mp4"
        render(video, path)
        sizes.append(path.stat().st_size)
    world.save(tmp_path / "world" / "world.json")
    rows = [
        {"language": "en", "kind": "asr", "vtt": "", "words": 1, "views": 1}
        | {"video_id": video.video_id, "duration": float(video.seconds)}
        for video in shown
    ]
    write_table(tmp_path / "subtitles.parquet", rows, tables.SUBTITLES)
    output, store = disk / "media" / "00000.parquet", disk / "store"
    flags = {"subtitles": tmp_path / "subtitles.parquet", "output": output}
    flags |= {"store": store, "world": tmp_path / "world"}
    command = [*CLI, "media", *(str(p) for n, v in flags.items() for p in (f"--{n}", v))]
    filler = fill(disk, room=sizes[0] + sizes[1] // 2)
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 3, first.stderr
    said = first.stderr.splitlines()[-1]
    assert said.startswith(f"howto100m: {shown[1].video_id}: disk_full: "), first.stderr
    assert "make room" in said and "Traceback" not in first.stderr
    assert not output.exists()
    assert [path.name for path in store.iterdir()] == [f"{shown[0].video_id}.mp4"]
    filler.unlink()
    kept = (store / f"{shown[0].video_id}.mp4").stat()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert "1 items were done before" in second.stderr
    assert (store / f"{shown[0].video_id}.mp4").stat() == kept
    assert [row["bytes"] for row in read_table(output).to_pylist()] == sizes


@pytest.mark.heavy
def test_a_download_that_finds_no_room_stops_the_stage_and_fails_no_video(tmp_path: Path) -> None:
    world = make_world(0, 15)
    videos = [v.video_id for v in world.videos.values() if v.media][:3]
    (tmp_path / "world" / "media").mkdir(parents=True)
    for video_id in videos:
        (tmp_path / "world" / "media" / f"{video_id}.mp4").write_bytes(bytes(200_000))
    world.save(tmp_path / "world" / "world.json")
    rows = [
        {"language": "en", "kind": "asr", "vtt": "", "words": 1, "views": 1, "duration": 9.0}
        | {"video_id": video_id}
        for video_id in videos
    ]
    write_table(tmp_path / "subtitles.parquet", rows, tables.SUBTITLES)
    output = tmp_path / "media" / "00000.parquet"
    flags = {"subtitles": tmp_path / "subtitles.parquet", "output": output}
    flags |= {"store": tmp_path / "store", "world": tmp_path / "world"}
    command = [part for name, value in flags.items() for part in (f"--{name}", value)]
    run = run_with_room(100_000, *CLI, "media", *command)
    assert run.returncode == 3, run.stderr
    assert f"howto100m: {videos[0]}: disk_full: " in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr and not output.exists()
    assert output.with_suffix(".journal.jsonl").read_text().count("\n") == 1  # the settings alone


def test_the_libraries_words_for_a_full_disk_are_known(tmp_path: Path) -> None:
    said = "ERROR: unable to write data: [Errno 28] No space left on device"
    assert verdict(said).kind is Kind.DISK_FULL and "make room" in str(verdict(said))
    assert disk_full(duckdb.IOException('Could not write file "x": No space left on device'))
    assert disk_full(RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 5"))
    assert not disk_full(RuntimeError("unexpected pos")) and not disk_full(OSError(2, "none"))
