rule get_weights:
    input:
        WORLD,
    output:
        "results/weights/{network}.pth",
    log:
        "logs/weights/{network}.log",
    conda:
        "../envs/features.yaml"
    threads: 8
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        source=lambda wildcards: config["features"][wildcards.network],
        frames="--frames results/sample/media" if SAMPLE else "",
        seed=config["sample"]["seed"],
    shell:
        "python -m howto100m weights --network {wildcards.network} --source {params.source:q}"
        " {params.frames} --seed {params.seed} --output {output} > {log} 2>&1"


rule extract_features:
    input:
        media="results/media/{shard}.parquet",
        resnet152="results/weights/resnet152.pth",
        resnext101="results/weights/resnext101.pth",
    output:
        table_2d="results/features/2d/{shard}.parquet",
        table_3d="results/features/3d/{shard}.parquet",
        status="results/features/{shard}.status.parquet",
    log:
        "logs/features/{shard}.log",
    benchmark:
        "logs/features/{shard}.tsv"
    conda:
        "../envs/features.yaml"
    threads: 16
    resources:
        gpu=1,
        local_gpu=1,
        mem_mb=more(16000),
        runtime=more(480),
    params:
        settings=FEATURE_SETTINGS,
        keep="",
    shell:
        "python -m howto100m features --media {input.media} --resnet152 {input.resnet152}"
        " --resnext101 {input.resnext101} {params.settings} {params.keep} --workers {threads}"
        " --output-2d {output.table_2d} --output-3d {output.table_3d} --status {output.status}"
        " > {log} 2>&1"


rule read_vectors:
    input:
        videos="results/videos/{shard}.parquet",
    output:
        table_2d="results/features/2d/{shard}.parquet",
        table_3d="results/features/3d/{shard}.parquet",
        status="results/features/{shard}.status.parquet",
    log:
        "logs/features/{shard}.log",
    conda:
        "../envs/features.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        folders=flags({f"folder_{n}": RELEASE[f"features_{n}"] or "" for n in NETWORKS}),
    shell:
        "python -m howto100m vectors --videos {input.videos} {params.folders}"
        " --output-2d {output.table_2d} --output-3d {output.table_3d} --status {output.status}"
        " > {log} 2>&1"


if VECTORS:

    ruleorder: read_vectors > extract_features

else:

    ruleorder: extract_features > read_vectors


rule collect_held_out:
    input:
        WORLD,
    output:
        table="results/evaluation/{held_out}/media.parquet",
        status="results/evaluation/{held_out}/media.status.parquet",
    log:
        "logs/evaluation/{held_out}.media.log",
    conda:
        "../envs/features.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    params:
        folder=lambda wildcards: config["evaluation"]["videos"][wildcards.held_out],
    shell:
        "python -m howto100m media --folder {params.folder:q} --output {output.table} > {log} 2>&1"


use rule extract_features as extract_held_out with:
    input:
        media="results/evaluation/{held_out}/media.parquet",
        resnet152="results/weights/resnet152.pth",
        resnext101="results/weights/resnext101.pth",
    output:
        table_2d="results/evaluation/{held_out}/2d.parquet",
        table_3d="results/evaluation/{held_out}/3d.parquet",
        status="results/evaluation/{held_out}/features.status.parquet",
    log:
        "logs/evaluation/{held_out}.features.log",
    benchmark:
        "logs/evaluation/{held_out}.features.tsv"
    params:
        settings=FEATURE_SETTINGS,
        keep="--keep-media",


rule pair_clips:
    input:
        clips="results/clips/{shard}.parquet",
        features_2d="results/features/2d/{shard}.parquet",
        features_3d="results/features/3d/{shard}.parquet",
        vocabulary="results/vocabulary/vocabulary.parquet",
    output:
        table="results/pairs/{shard}.parquet",
        status="results/pairs/{shard}.status.parquet",
    log:
        "logs/pairs/{shard}.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        min_seconds=config["pairs"]["min_seconds"],
        min_words=config["pairs"]["min_words"],
        max_words=config["pairs"]["max_words"],
    shell:
        "python -m howto100m pairs --clips {input.clips} --features-2d {input.features_2d}"
        " --features-3d {input.features_3d} --vocabulary {input.vocabulary}"
        " --min-seconds {params.min_seconds} --min-words {params.min_words}"
        " --max-words {params.max_words} --output {output.table} > {log} 2>&1"
