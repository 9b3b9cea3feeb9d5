"""Start-up: light stages import nothing heavy, and spend little before their work."""

import resource
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "torchvision", "av", "yt_dlp", "gensim", "matplotlib", "snakemake")
LIGHT = (
    "videos --search none --tasks none --output out",
    "clips --subtitles none --output out",
    "clips --captions none --videos none --output out",
    "captions --clean none.json --output out",
    "vectors --videos none --status out --folder-2d none --output-2d out",
    "pairs --clips none --features-2d none --features-3d none --vocabulary none --output out",
    "metrics none --output out",
    "status --results none",
    "validate --results none",
)
"""Commands that fail for want of input, which is after their imports."""
RUN = """
import sys
from howto100m.cli import app
from howto100m.kinds import UserError
for command in sys.argv[1:]:
    try:
        app(command.split(), standalone_mode=False)
    except UserError as error:
        print(command.split()[0], error)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_light_stages_import_nothing_heavy(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN, *LIGHT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *refused, modules = run.stdout.splitlines()
    assert len(refused) == len(LIGHT), run.stdout + run.stderr
    assert not set(HEAVY) & set(modules.split())


def test_a_job_of_the_clips_spends_little_before_its_work(tmp_path: Path) -> None:
    """Processor seconds of a whole job, the least of three, since neighbours disturb them too."""
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nchop the onion\n")
    command = (sys.executable, "-m", "howto100m", "clips", "--vtt", "a.vtt", "--output", "clips")
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.5
