"""Cut ASR subtitle files into clips: seconds, memory, and webvtt-py's plain text beside it.

    python benchmarks/captions.py /tmp/captions --files 250 1000

Writes files of 500 cues in YouTube's rolling form, and cuts them with one process each time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

WORDS = (Path(__file__).parents[1] / "README.md").read_text().split()
PLAIN = "import sys, webvtt; [c.text for f in sys.argv[1:] for c in webvtt.read(f).captions]"


def stamp(ms: int) -> str:
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def asr(cues: int, random: Random) -> str:
    """Lines of 5 to 9 words, each in a cue of 2 to 4 s and one of 10 ms."""
    text, above, now = "WEBVTT\nKind: captions\nLanguage: en\n\n", " ", 0
    for _ in range(cues // 2):
        words = [
            word.replace("<", "&lt;") for word in random.choices(WORDS, k=random.randint(5, 9))
        ]
        end = now + random.randint(2000, 4000)
        times = sorted(random.sample(range(now + 1, end - 10), len(words) - 1))
        spoken = "".join(f"<{stamp(t)}><c> {w}</c>" for t, w in zip(times, words[1:], strict=True))
        place = "align:start position:0%"
        text += f"{stamp(now)} --> {stamp(end - 10)} {place}\n{above}\n{words[0]}{spoken}\n\n"
        above = " ".join(words)
        text += f"{stamp(end - 10)} --> {stamp(end)} {place}\n{above}\n \n\n"
        now = end
    return text


def measure(*command: str | Path) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor, and the largest memory (MiB) of a command."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[:4]} failed")
    seconds = time.perf_counter() - started
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--cues", type=int, default=500)
    arguments = parser.parse_args()
    print("| files | what | s | processor s | MiB |\n|---|---|---|---|---|")
    for number in arguments.files:
        folder = arguments.folder / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        random = Random(1)
        for i in range(number):
            (folder / f"{i:06}.vtt").write_text(asr(arguments.cues, random))
        output = arguments.folder / f"{number}.parquet"
        clips = (sys.executable, "-m", "howto100m", "clips", "--vtt", folder, "--output", output)
        for what, command in (
            ("howto100m clips", clips),
            ("howto100m clips --unit sentence", (*clips, "--unit", "sentence")),
            ("webvtt-py, its text alone", (sys.executable, "-c", PLAIN, *folder.iterdir())),
        ):
            seconds, processor, memory = measure(*command)
            print(f"| {number} | {what} | {seconds:.1f} | {processor:.1f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
