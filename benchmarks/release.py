"""Read a release's captions into shards: seconds and memory, and json.load beside it.

    python benchmarks/release.py /tmp/release --videos 5000 20000

Writes a caption.json of so many videos of 110 lines each; the official one has 1.2 million.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from captions import measure

LOAD = "import json, sys; json.load(open(sys.argv[1]))"


def write_captions(path: Path, videos: int) -> None:
    starts = [round(4.13 * i, 2) for i in range(110)]
    ends = [round(start + 3.9, 2) for start in starts]
    text = [f"fold red paper corner {i}" for i in range(110)]
    captions = json.dumps({"start": starts, "end": ends, "text": text})
    with path.open("w") as file:
        for i in range(videos):
            file.write(f'{"," if i else "{"}"video{i:06}": {captions}')
        file.write("}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, nargs="+", default=[5000, 20000])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print("| videos | MB | what | s | MiB |\n|---|---|---|---|---|")
    for videos in arguments.videos:
        path = arguments.folder / f"{videos}.json"
        write_captions(path, videos)
        output = arguments.folder / f"{videos}"
        shards = str(max(1, videos // 1024))
        ours = [sys.executable, "-m", "howto100m", "captions", "--clean", path]
        ours += ["--output", output, "--shards", shards]
        for what, command in (
            (f"howto100m captions, {shards} shards", ours),
            ("json.load", (sys.executable, "-c", LOAD, path)),
        ):
            seconds, _, memory = measure(*command)
            size = path.stat().st_size / 1e6
            print(f"| {videos} | {size:.0f} | {what} | {seconds:.1f} | {memory:.0f} |")
        shutil.rmtree(output)
        path.unlink()


if __name__ == "__main__":
    main()
