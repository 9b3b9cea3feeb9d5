"""Making the sample world: what its sites know, its videos, its benchmarks."""

import shutil
from pathlib import Path

from howto100m.sample.benchmarks import make_benchmarks
from howto100m.sample.render import render_all
from howto100m.sample.world import MEDIA, WORLD, make_world


def make_sample(output: Path, seed: int, videos: int, held_out: int, workers: int) -> None:
    """Write the sample world to a folder: world.json, media/<id>.mp4, benchmarks/.

    `videos` is the number of good videos, `held_out` that of the benchmarks' videos, `workers` the
    number of processes that draw. world.json comes last: where it stands, all is there. Raises
    UserError for numbers that the world cannot have.
    """
    world = make_world(seed, videos)
    for part in (MEDIA, "benchmarks"):  # another seed's videos may not stay among these
        shutil.rmtree(output / part, ignore_errors=True)
    make_benchmarks(output / "benchmarks", seed, held_out, workers)
    render_all([v for v in world.videos.values() if v.media], output / MEDIA, workers)
    world.save(output / WORLD)
