"""A full disk: one clear line, nothing of what was done lost, nothing half done left."""

import resource
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from howto100m import tables
from howto100m.kinds import Kind, disk_full
from howto100m.sample.world import make_world
from howto100m.shards import Journal, write_table
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
