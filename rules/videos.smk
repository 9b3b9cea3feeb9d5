rule select_videos:
    input:
        RELEASE["videos"] if RELEASED else [],
        expand(
            "results/{stage}/{task_shard}.parquet",
            stage=[] if RELEASED else ["search", "tasks"],
            task_shard=TASK_SHARDS,
        ),
    output:
        table=expand("results/videos/{shard}.parquet", shard=SHARDS),
        status=expand("results/videos/{shard}.status.parquet", shard=SHARDS),
    log:
        "logs/videos.log",
    conda:
        "../envs/crawl.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        source=(
            ["--release", RELEASE["videos"]]
            if RELEASED
            else ["--search", "results/search", "--tasks", "results/tasks"]
        ),
        shards=len(SHARDS),
        max_rank=config["videos"]["max_rank"],
        min_views=config["videos"]["min_views"],
        max_duration=config["videos"]["max_duration"],
    shell:
        "python -m howto100m videos {params.source:q} --shards {params.shards}"
        " --max-rank {params.max_rank} --min-views {params.min_views}"
        " --max-duration {params.max_duration} --output results/videos > {log} 2>&1"


rule download_media:
    input:
        WORLD,
        subtitles=f"results/{'videos' if RELEASED else 'subtitles'}/{{shard}}.parquet",
    output:
        table=update("results/media/{shard}.parquet"),
        status=update("results/media/{shard}.status.parquet"),
    log:
        "logs/media/{shard}.log",
    # Before more subtitles: the streams that these name hold for some hours.
    priority: 1
    retries: 2
    localrule: config["crawl_here"]
    conda:
        "../envs/features.yaml"
    resources:
        youtube=1,
        mem_mb=more(1000),
        runtime=more(1440),
    params:
        height=config["media"]["height"],
        sites=SITES,
    shell:
        "python -m howto100m media --subtitles {input.subtitles} --store media/{wildcards.shard}"
        " --height {params.height} {params.sites} --output {output.table} > {log} 2>&1"
