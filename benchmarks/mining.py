"""Mine a WikiHow of full size from its stand-in: requests, time, memory, size of the journal.

    .venv/bin/python benchmarks/mining.py --articles 240000

The stand-in and the miner are two processes on one machine; there are no pauses between requests.
Killed after as many requests as there are batches, a second run does the rest.
"""

import argparse
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from howto100m.sample.records import Page
from howto100m.sample.sites import sites
from howto100m.sample.wikihow_site import REAL_ROWS
from howto100m.sample.world import make_world

ROOT = Path(__file__).parents[1]
MINER = """
import sys
from pathlib import Path
from howto100m.tasks.select import Rules, mine_tasks
from howto100m.tasks.wikihow import WikiHow
proxy, ca, output, *kept = sys.argv[1:]
mine_tasks(WikiHow("benchmark", 0.0, proxy, Path(ca)), Path(output), 256, Rules.of(kept))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=int, default=240_000)
    number = parser.parse_args().articles
    kept = yaml.safe_load((ROOT / "config.yaml").read_text())["tasks"]["categories"]
    known = make_world(0, 15)
    names = list(known.parents)
    pages = tuple(
        Page(
            n,
            f"Make Thing Number {n:06d} with Things at Home",
            (names[n % 97 % len(names)], names[n % 31 % len(names)])
            if n % 3
            else (names[n % len(names)],),
        )
        for n in range(1, number + 1)
    )
    with TemporaryDirectory() as folder:
        world, log = Path(folder), Path(folder) / "requests.jsonl"
        replace(known, pages=pages).save(world / "world.json")
        with sites(world, log, rows=REAL_ROWS) as door:
            command = [sys.executable, "-c", MINER, door.proxy, str(door.ca), str(world / "tasks")]
            miner = subprocess.Popen([*command, *kept], stderr=subprocess.DEVNULL)
            while not log.exists() or log.read_text().count("\n") < number / 500:
                time.sleep(0.05)
            miner.send_signal(signal.SIGKILL)
            miner.wait()
            journal = next((world / "tasks").glob("*.journal.jsonl")).stat().st_size
            asked = log.read_text().count("\n")
            started = time.monotonic()
            subprocess.run([*command, *kept], check=True, stderr=subprocess.DEVNULL)
            seconds = time.monotonic() - started
            total = log.read_text().count("\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{number} articles: {asked} requests, killed with a journal of {journal / 2**20:.0f} MiB;"
    )
    print(f"the second run: {total - asked} requests, {seconds:.0f} s, at most {peak:.0f} MiB")


if __name__ == "__main__":
    main()
