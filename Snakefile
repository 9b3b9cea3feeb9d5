from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/sample.smk"
include: "rules/tasks.smk"
include: "rules/videos.smk"
include: "rules/clips.smk"
include: "rules/features.smk"
include: "rules/embedding.smk"
include: "rules/studies.smk"
include: "rules/report.smk"
include: "rules/retry.smk"


localrules:
    all,
    annotate,
    tasks,
    search,
    videos,
    subtitles,
    clips,
    media,
    features,
    vocabulary,
    pairs,
    embedding,
    index,
    evaluation,
    study_negatives,
    study_scale,
    study_finetune,
    study_transfer,
    study_loss,
    report,


rule all:
    """Everything, up to the report."""
    input:
        "results/report.html",


rule tasks:
    """WikiHow's titles, and which of them are visual tasks."""
    input:
        expand("results/tasks/{task_shard}.parquet", task_shard=TASK_SHARDS),


rule search:
    """The first results of YouTube for every task."""
    input:
        expand("results/search/{task_shard}.parquet", task_shard=TASK_SHARDS),


rule videos:
    """One row a video: filtered, and de-duplicated over tasks."""
    input:
        expand("results/videos/{shard}.parquet", shard=SHARDS),


rule subtitles:
    """The English track of every video."""
    input:
        expand("results/subtitles/{shard}.parquet", shard=SHARDS),


rule clips:
    """A clip a subtitle line, with its caption."""
    input:
        expand("results/clips/{shard}.parquet", shard=SHARDS),


rule media:
    """The video files."""
    input:
        expand("results/media/{shard}.parquet", shard=SHARDS),


rule features:
    """ResNet-152 and 3D ResNeXt-101 vectors of every video."""
    input:
        expand(
            "results/features/{network}/{shard}.parquet",
            network=NETWORKS,
            shard=SHARDS,
        ),


rule vocabulary:
    """The words of the captions, with their vectors."""
    input:
        "results/vocabulary/vocabulary.parquet",


rule pairs:
    """Training pairs: grown clips, pooled features, word ids."""
    input:
        expand("results/pairs/{shard}.parquet", shard=SHARDS),


rule embedding:
    """The joint text-video embedding, one a training run."""
    input:
        expand("results/embedding/{run}.pth", run=RUNS),


rule index:
    """What finds clips by a sentence: for `howto100m find` and `howto100m serve`."""
    input:
        "results/index/index.json",


rule evaluation:
    """The figures of every training run on every benchmark."""
    input:
        "results/evaluation/metrics.parquet",


rule study_negatives:
    """Negatives of the same video or not (the paper's table 3)."""
    input:
        "results/studies/negatives.parquet",


rule study_scale:
    """Videos down to a search rank (figure 3)."""
    input:
        "results/studies/scale.parquet",


rule study_finetune:
    """Shares of a target's training data (figure 4)."""
    input:
        "results/studies/finetune.parquet",


rule study_transfer:
    """What to train on before the target (figure 5)."""
    input:
        "results/studies/transfer.parquet",


rule study_loss:
    """Losses against each other."""
    input:
        "results/studies/loss.parquet",


rule report:
    """The page that shows it all."""
    input:
        "results/report.html",


rule annotate:
    """A page to judge 400 random pairs by hand, as the authors did."""
    input:
        "results/annotate.html",
