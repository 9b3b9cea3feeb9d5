rule pair_target:
    input:
        vocabulary="results/vocabulary/vocabulary.parquet",
        features=lambda wildcards: TARGET_FEATURES[wildcards.target].values(),
    output:
        table="results/studies/targets/{target}/{share}/pairs.parquet",
        status="results/studies/targets/{target}/{share}/pairs.status.parquet",
    log:
        "logs/studies/targets/{target}.{share}.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(8000),
    params:
        training=lambda wildcards: flags(
            TARGET_SOURCES[wildcards.target] | TARGET_FEATURES[wildcards.target]
        ),
        max_words=config["pairs"]["max_words"],
    shell:
        "python -m howto100m pairs {params.training} --share {wildcards.share}"
        " --vocabulary {input.vocabulary} --max-words {params.max_words}"
        " --output {output.table} > {log} 2>&1"


rule train_variant:
    input:
        pairs=lambda wildcards: pairs_of(variant(wildcards)),
        vocabulary="results/vocabulary/vocabulary.parquet",
        init=lambda wildcards: init_of(wildcards),
    output:
        checkpoint="results/studies/{study}/{setting}-{seed}.pth",
        curve="results/studies/{study}/{setting}-{seed}.curve.parquet",
        status="results/studies/{study}/{setting}-{seed}.status.parquet",
    log:
        "logs/studies/{study}/{setting}-{seed}.log",
    conda:
        "../envs/embedding.yaml"
    threads: 16
    resources:
        gpu=config["embedding"]["processes"],
        local_gpu=config["embedding"]["processes"],
        mem_mb=more(16000),
        runtime=more(4320),
    params:
        pairs=lambda wildcards, input: Path(input.pairs[0]).parent,
        settings=lambda wildcards, input: flags(
            {**variant(wildcards).flags, "init": input.init or None}
        ),
        max_words=config["pairs"]["max_words"],
    shell:
        "python -m howto100m embedding --pairs {params.pairs} --vocabulary {input.vocabulary}"
        " --run {wildcards.setting}-{wildcards.seed} --seed {wildcards.seed} {params.settings}"
        " --max-words {params.max_words} --output {output.checkpoint} --curve {output.curve}"
        " --status {output.status} > {log} 2>&1"


# What the line has trained already: its videos are those of the line's own run.
rule adopt_variant:
    input:
        lambda wildcards: Path(
            variant(wildcards).checkpoint(wildcards.seed)
        ).with_suffix(".status.parquet"),
    output:
        "results/studies/{study}/{setting}-{seed}.status.parquet",
    log:
        "logs/studies/{study}/{setting}-{seed}.adopt.log",
    wildcard_constraints:
        setting="|".join(map(re.escape, ADOPTED)) or "none",
    conda:
        "../envs/embedding.yaml"
    shell:
        "cp {input} {output} > {log} 2>&1"


ruleorder: adopt_variant > train_variant


use rule evaluate_embedding as evaluate_variant with:
    input:
        WORLD,
        checkpoint=lambda wildcards: variant(wildcards).checkpoint(wildcards.seed),
        vocabulary="results/vocabulary/vocabulary.parquet",
        features=lambda wildcards: BENCHMARK_FEATURES[wildcards.benchmark].values(),
    output:
        metrics="results/studies/{study}/{benchmark}/{setting}-{seed}.metrics.parquet",
        rankings="results/studies/{study}/{benchmark}/{setting}-{seed}.rankings.parquet",
        status="results/studies/{study}/{benchmark}/{setting}-{seed}.status.parquet",
    log:
        "logs/studies/{study}/{benchmark}.{setting}-{seed}.log",
    params:
        run=lambda wildcards: f"{wildcards.setting}-{wildcards.seed}",
        questions=lambda wildcards: questions_of(wildcards.benchmark),
        max_words=config["pairs"]["max_words"],
        ties=config["evaluation"]["ties"],
        similarity=lambda wildcards: similarity_of(variant(wildcards).settings["loss"]),


rule collect_study:
    input:
        metrics=lambda wildcards: [
            path
            for variant in STUDIES[wildcards.study]
            for seed in STUDY_SEEDS
            for path in variant.metrics(seed)
        ],
        statuses=lambda wildcards: [
            variant.status(seed)
            for variant in STUDIES[wildcards.study]
            for seed in STUDY_SEEDS
            if variant.status(seed)
        ],
    output:
        "results/studies/{study}.parquet",
    log:
        "logs/studies/{study}.log",
    conda:
        "../envs/embedding.yaml"
    shell:
        "python -m howto100m study {input.metrics:q} --output {output} > {log} 2>&1"
