rule build_vocabulary:
    input:
        clips=expand("results/clips/{shard}.parquet", shard=SHARDS),
    output:
        table="results/vocabulary/vocabulary.parquet",
        status="results/vocabulary/vocabulary.status.parquet",
    log:
        "logs/vocabulary.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(8000),
        runtime=more(480),
    params:
        settings=flags(config["vocabulary"]),
    shell:
        "python -m howto100m vocabulary --clips results/clips {params.settings}"
        " --output {output.table} > {log} 2>&1"


rule train_embedding:
    input:
        pairs=expand("results/pairs/{shard}.parquet", shard=SHARDS),
        vocabulary="results/vocabulary/vocabulary.parquet",
    output:
        checkpoint="results/embedding/{run}.pth",
        curve="results/embedding/{run}.curve.parquet",
        status="results/embedding/{run}.status.parquet",
    log:
        "logs/embedding/{run}.log",
    conda:
        "../envs/embedding.yaml"
    threads: 16
    resources:
        gpu=config["embedding"]["processes"],
        local_gpu=config["embedding"]["processes"],
        mem_mb=more(16000),
        runtime=more(4320),
    params:
        seed=lambda wildcards: wildcards.run.rsplit("-", 1)[1],
        settings=EMBEDDING_SETTINGS,
        max_words=config["pairs"]["max_words"],
    shell:
        "python -m howto100m embedding --pairs results/pairs --vocabulary {input.vocabulary}"
        " --run {wildcards.run} --seed {params.seed} {params.settings}"
        " --max-words {params.max_words} --output {output.checkpoint} --curve {output.curve}"
        " --status {output.status} > {log} 2>&1"


rule index_clips:
    input:
        expand(
            "results/{stage}/{shard}.parquet",
            stage=["videos", "clips", "pairs"] + ([] if VECTORS else ["media"]),
            shard=SHARDS,
        ),
        vocabulary="results/vocabulary/vocabulary.parquet",
        checkpoint=f"results/embedding/{RUNS[0]}.pth",
    output:
        "results/index/index.json",
        "results/index/clips.parquet",
    log:
        "logs/index.log",
    conda:
        "../envs/embedding.yaml"
    threads: 16
    resources:
        gpu=1,
        local_gpu=1,
        # FAISS holds 270 bytes a clip: 30 MB a shard of 1,024 videos.
        mem_mb=more(16000 + 30 * len(SHARDS)),
        runtime=more(1440),
    params:
        exact_up_to=config["index"]["exact_up_to"],
        max_words=config["pairs"]["max_words"],
    shell:
        "python -m howto100m index --results results --checkpoint {input.checkpoint}"
        " --max-words {params.max_words} --exact-up-to {params.exact_up_to}"
        " --output results/index > {log} 2>&1"


rule evaluate_embedding:
    input:
        WORLD,
        checkpoint="results/embedding/{run}.pth",
        vocabulary="results/vocabulary/vocabulary.parquet",
        features=lambda wildcards: BENCHMARK_FEATURES[wildcards.benchmark].values(),
    output:
        metrics="results/evaluation/{benchmark}/{run}.metrics.parquet",
        rankings="results/evaluation/{benchmark}/{run}.rankings.parquet",
        status="results/evaluation/{benchmark}/{run}.status.parquet",
    log:
        "logs/evaluation/{benchmark}.{run}.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(8000),
        runtime=more(240),
    params:
        run=lambda wildcards: wildcards.run,
        questions=lambda wildcards: questions_of(wildcards.benchmark),
        max_words=config["pairs"]["max_words"],
        ties=config["evaluation"]["ties"],
        similarity=similarity_of(config["embedding"]["loss"]),
    shell:
        "python -m howto100m evaluation --checkpoint {input.checkpoint}"
        " --vocabulary {input.vocabulary} --benchmark {wildcards.benchmark}"
        " {params.questions} --run {params.run} --max-words {params.max_words} --ties {params.ties}"
        " --similarity {params.similarity}"
        " --metrics {output.metrics} --rankings {output.rankings}"
        " --status {output.status} > {log} 2>&1"


rule merge_metrics:
    input:
        expand(
            "results/evaluation/{benchmark}/{run}.metrics.parquet",
            benchmark=BENCHMARKS,
            run=RUNS,
        ),
    output:
        "results/evaluation/metrics.parquet",
    log:
        "logs/evaluation/metrics.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(1000),
        runtime=more(10),
    shell:
        "python -m howto100m metrics {input} --output {output} > {log} 2>&1"
