rule mine_tasks:
    input:
        WORLD,
        **TITLES,
    output:
        table=expand("results/tasks/{task_shard}.parquet", task_shard=TASK_SHARDS),
        status=expand(
            "results/tasks/{task_shard}.status.parquet", task_shard=TASK_SHARDS
        ),
    log:
        "logs/tasks.log",
    localrule: config["crawl_here"]
    conda:
        "../envs/crawl.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(2880),
    params:
        titles=flags({"from": config["tasks"]["from"], **TITLES}),
        shards=len(TASK_SHARDS),
        categories=[f"--category={name}" for name in config["tasks"]["categories"]],
        decisions=[
            f"--{flag}={name}={decision}"
            for flag, key in (("verb", "verbs"), ("task", "overrides"))
            for name, decision in config["tasks"][key].items()
        ],
        abstract_objects=",".join(config["tasks"]["abstract_objects"]),
        sites=SITES,
    shell:
        "python -m howto100m tasks {params.titles} --output results/tasks"
        " --shards {params.shards} {params.categories:q} {params.decisions:q}"
        " --abstract-objects {params.abstract_objects:q}"
        " {params.sites} > {log} 2>&1"


rule search_tasks:
    input:
        WORLD,
        tasks="results/tasks/{task_shard}.parquet",
    output:
        table=update("results/search/{task_shard}.parquet"),
        status=update("results/search/{task_shard}.status.parquet"),
    log:
        "logs/search/{task_shard}.log",
    retries: 2
    localrule: config["crawl_here"]
    conda:
        "../envs/crawl.yaml"
    resources:
        youtube=1,
        mem_mb=more(1000),
        runtime=more(1440),
    params:
        results=config["search"]["results"],
        sites=SITES,
    shell:
        "python -m howto100m search --tasks {input.tasks} --results {params.results}"
        " {params.sites} --output {output.table} > {log} 2>&1"
