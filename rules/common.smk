import json
import sys

sys.path.insert(0, f"{workflow.basedir}/src")

from howto100m.config import flags, resolve, use_this_python
from howto100m.kinds import UserError

# Rules run the package from this checkout, in whatever environment they get. An exported variable
# would not do: Snakemake drops PYTHONPATH in conda jobs. Threads of PyTorch that wait sleep: while
# they spin, they take the cores from decoders and from the neighbours' jobs.
shell.prefix(f"export PYTHONPATH={workflow.basedir}/src OMP_WAIT_POLICY=PASSIVE; ")
use_this_python()

try:
    config = resolve(config)
except UserError as mistake:
    sys.exit(str(mistake))

TASK_SHARDS = [f"{shard:05d}" for shard in range(config["shards"]["tasks"])]
SHARDS = [f"{shard:05d}" for shard in range(config["shards"]["videos"])]
NETWORKS = ["2d", "3d"]
RUNS = [
    f"{config['embedding']['loss']}-{seed}" for seed in config["embedding"]["seeds"]
]
BENCHMARKS = config["evaluation"]["benchmarks"]

# In the sample the crawling rules need its world, and talk to its stand-ins.
SAMPLE = config["source"] == "sample"
WORLD = ["results/sample/world.json"] if SAMPLE else []
SITES = "--world results/sample" if SAMPLE else ""
YT_DLP = json.dumps(config["youtube"])

# Settings whose names are the sub-command's flags.
FEATURE_SETTINGS = flags(
    {key: config["features"][key] for key in ("mean", "device", "dtype", "batch_size")}
)
EMBEDDING_SETTINGS = flags(
    {key: value for key, value in config["embedding"].items() if key != "seeds"}
)


resource_scopes:
    gpu="local",


wildcard_constraints:
    task_shard=r"\d{5}",
    shard=r"\d{5}",
    network="resnet152|resnext101",
    run=r"[a-z_]+-\d+",
    benchmark=r"[\w-]+",
    held_out=r"[\w-]+",
