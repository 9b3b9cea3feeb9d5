import json
import re
import sys
from pathlib import Path

sys.path.insert(0, f"{workflow.basedir}/src")

from howto100m.clips.excluded import split_source
from howto100m.config import TASK_LISTS, exports, flags, resolve, use_this_python
from howto100m.evaluation.plan import plan, weight_settings
from howto100m.cut import keep_cut, refuse_other_cut
from howto100m.kinds import UserError

use_this_python()

try:
    config = resolve(config)
    refuse_other_cut(Path("results"), config["shards"])
except UserError as mistake:
    sys.exit(str(mistake))

TASK_SHARDS = [f"{shard:05d}" for shard in range(config["shards"]["tasks"])]
SHARDS = [f"{shard:05d}" for shard in range(config["shards"]["videos"])]
NETWORKS = ["2d", "3d"]
RUNS = [
    f"{config['embedding']['loss']}-{seed}" for seed in config["embedding"]["seeds"]
]
BENCHMARKS = config["evaluation"]["benchmarks"]
# The features of a benchmark's videos; its official files may have some of their own.
BENCHMARK_FEATURES = {
    name: {
        f"features_{n}": f"results/evaluation/{benchmark['videos']}/{n}.parquet"
        for n in (NETWORKS if "videos" in benchmark else [])
    }
    for name, benchmark in BENCHMARKS.items()
}

# The paper's studies: their variants, and where the training data of their targets come from.
VARIANTS = plan(config)
STUDIES = {
    study: [v for v in VARIANTS.values() if v.study == study]
    for study in ("negatives", "scale", "finetune", "transfer", "loss")
}
STUDY_SEEDS = config["studies"]["seeds"]
STUDY_TABLES = expand("results/studies/{study}.parquet", study=STUDIES)
ADOPTED = [v.setting for v in VARIANTS.values() if not v.trained and v.share != "0"]
TARGET_SOURCES = {
    name: (
        {"annotations": target["annotations"]}
        if target
        else {k: BENCHMARKS[name][k] for k in ("official", "data")}
    )
    for name, target in config["studies"]["targets"].items()
}
TARGET_FEATURES = {
    name: {
        f"features_{n}": f"results/evaluation/{target['videos']}/{n}.parquet"
        for n in (NETWORKS if target else [])
    }
    for name, target in config["studies"]["targets"].items()
}


def questions_of(benchmark):
    sources = {k: v for k, v in BENCHMARKS[benchmark].items() if k != "videos"}
    return flags(sources | BENCHMARK_FEATURES[benchmark])


def similarity_of(loss):
    """What the loss compares by: MIL-NCE is defined on plain dot products."""
    return "dot" if loss == "mil_nce" else "cosine"


def variant(wildcards):
    return VARIANTS[wildcards.study, wildcards.setting]


def pairs_of(variant):
    if variant.target:
        return [
            f"results/studies/targets/{variant.target}/{variant.share}/pairs.parquet"
        ]
    ranks = SHARDS if variant.max_rank else []
    return expand("results/pairs/{shard}.parquet", shard=SHARDS) + expand(
        "results/videos/{shard}.parquet", shard=ranks
    )


def init_of(wildcards):
    init = variant(wildcards).init
    return init.format(seed=wildcards.seed) if init else []


# In the sample the crawling rules need its world, and talk to its stand-ins.
SAMPLE = config["source"] == "sample"
WORLD = ["results/sample/world.json"] if SAMPLE else []
SITES = "--world results/sample" if SAMPLE else ""
# The official release in place of the crawl, and feature files in place of media and networks.
RELEASE = config["release"]
RELEASED = config["source"] == "howto100m"
CAPTIONS = {
    name: RELEASE[key]
    for name, key in (("clean", "captions"), ("raw", "raw_captions"))
    if RELEASE[key]
}
CLIP_SOURCE = {
    stage: f"results/{stage}/{{shard}}.parquet"
    for stage in (["captions", "videos"] if RELEASED else ["subtitles"])
}
VECTORS = bool(RELEASE["features_2d"])
EXCLUDED = [split_source(source)[0] for source in config["clips"]["exclude"]]
# The files that the titles are read from, where they do not come from WikiHow.
TITLES = {key: config["tasks"][key] for key in TASK_LISTS[config["tasks"]["from"]]}
# Settings whose names are the sub-command's flags.
FEATURE_SETTINGS = flags(
    {key: config["features"][key] for key in ("mode", "mean", "dtype", "max_duration")}
)
EMBEDDING_SETTINGS = flags(weight_settings(config["embedding"]))

# Rules run the package from this checkout, in whatever environment they get; an exported variable
# would not do, since Snakemake drops PYTHONPATH in conda jobs. Threads of PyTorch that wait sleep:
# while they spin, they take the cores from decoders and from the neighbours' jobs. The flags that
# change no table's content go the same way, and not through `params`: another cookie, pause or
# device must not run a stage again.
shell.prefix(
    exports(
        PYTHONPATH=f"{workflow.basedir}/src",
        OMP_WAIT_POLICY="PASSIVE",
        HOWTO100M_YT_DLP=json.dumps(config["youtube"]),
        HOWTO100M_PACE=json.dumps(config["pace"]),
        HOWTO100M_DELAY=config["tasks"]["delay"],
        HOWTO100M_USER_AGENT=config["tasks"]["user_agent"],
        HOWTO100M_MAX_FAILED=config["max_failed"],
        HOWTO100M_FEATURES_DEVICE=config["features"]["device"],
        HOWTO100M_BATCH_SIZE=config["features"]["batch_size"],
        HOWTO100M_TUNE=config["features"]["tune"],
        HOWTO100M_TIMEOUT=config["features"]["timeout"],
        HOWTO100M_DISCARD_MEDIA=int(not config["media"]["keep"]),
        HOWTO100M_DEVICE=config["embedding"]["device"],
        HOWTO100M_PROCESSES=config["embedding"]["processes"],
        HOWTO100M_TENSORBOARD=config["embedding"]["tensorboard"] or "",
    )
)


def more(amount):
    """A resource (MB, minutes) of a job's first attempt, twice that of its second, and so on."""
    return lambda wildcards, attempt: amount * attempt


# For `--sdm apptainer`: one image for all rules, built once by hand (docs/running.md).
container: f"{workflow.basedir}/envs/howto100m.sif"


onstart:
    keep_cut(Path("results"), config["shards"])


# `gpu` is what a scheduler gives a job, `local_gpu` what bounds jobs on one machine. One name would
# not do: Snakemake cuts what a job asks for down to the bound, on a cluster too.
resource_scopes:
    local_gpu="local",


wildcard_constraints:
    task_shard=r"\d{5}",
    shard=r"\d{5}",
    network="resnet152|resnext101",
    run=r"[a-z_]+-\d+",
    benchmark=r"[\w-]+",
    held_out=r"[\w-]+",
    study="|".join(STUDIES),
    setting=r"[\w=,.-]+",
    seed=r"\d+",
    target=r"[\w-]+",
    share=r"[\d.]+",
