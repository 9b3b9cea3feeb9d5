rule fetch_subtitles:
    input:
        WORLD,
        videos="results/videos/{shard}.parquet",
    output:
        table=update("results/subtitles/{shard}.parquet"),
        status=update("results/subtitles/{shard}.status.parquet"),
    log:
        "logs/subtitles/{shard}.log",
    retries: 2
    localrule: config["crawl_here"]
    conda:
        "../envs/crawl.yaml"
    resources:
        youtube=1,
        mem_mb=more(1000),
        runtime=more(1440),
    params:
        kinds=[f"--kind={kind}" for kind in config["subtitles"]["kinds"]],
        min_words=config["subtitles"]["min_words"],
        max_rank=config["videos"]["max_rank"],
        min_views=config["videos"]["min_views"],
        max_duration=config["videos"]["max_duration"],
        sites=SITES,
    shell:
        "python -m howto100m subtitles --videos {input.videos} {params.kinds}"
        " --min-words {params.min_words} --max-rank {params.max_rank}"
        " --min-views {params.min_views} --max-duration {params.max_duration} {params.sites}"
        " --output {output.table} > {log} 2>&1"


rule import_captions:
    input:
        **CAPTIONS,
    output:
        expand("results/captions/{shard}.parquet", shard=SHARDS),
    log:
        "logs/captions.log",
    conda:
        "../envs/crawl.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(480),
    params:
        captions=flags(CAPTIONS),
        shards=len(SHARDS),
    shell:
        "python -m howto100m captions {params.captions} --shards {params.shards}"
        " --output results/captions > {log} 2>&1"


rule cut_clips:
    input:
        **CLIP_SOURCE,
        excluded=EXCLUDED,
    output:
        table="results/clips/{shard}.parquet",
        status="results/clips/{shard}.status.parquet",
        statistics="results/clips/{shard}.statistics.parquet",
    log:
        "logs/clips/{shard}.log",
    conda:
        "../envs/crawl.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        source=lambda wildcards: flags(CLIP_SOURCE).format(shard=wildcards.shard),
        unit=config["clips"]["unit"],
        exclude=[f"--exclude={source}" for source in config["clips"]["exclude"]],
    shell:
        "python -m howto100m clips {params.source} --unit {params.unit}"
        " {params.exclude:q} --output {output.table} > {log} 2>&1"
