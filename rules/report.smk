rule write_report:
    input:
        expand(
            "results/{stage}/{shard}.parquet",
            stage=[] if RELEASED else ["tasks", "search"],
            shard=TASK_SHARDS,
        ),
        expand(
            "results/{stage}/{shard}.parquet",
            stage=["videos", "clips", "pairs"]
            + ([] if RELEASED else ["subtitles"])
            + ([] if VECTORS else ["media"]),
            shard=SHARDS,
        ),
        expand(
            "results/features/{network}/{shard}.parquet",
            network=NETWORKS,
            shard=SHARDS,
        ),
        expand("results/embedding/{run}.pth", run=RUNS),
        "results/vocabulary/vocabulary.parquet",
        "results/evaluation/metrics.parquet",
        ["results/index/index.json"] if config["report"]["queries"] else [],
    output:
        datasheet=report(
            "results/DATASHEET.md",
            caption="../report/datasheet.rst",
            category="Report",
            labels={"what": "datasheet (Markdown)"},
        ),
        page=report(
            "results/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"what": "the page"},
        ),
    log:
        "logs/report.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(8000),
        runtime=more(240),
    params:
        settings=json.dumps(config, sort_keys=True),
        # Not inputs: the report shows the studies that are there, and runs none.
        studies=[(p, Path(p).stat().st_mtime) for p in STUDY_TABLES if Path(p).exists()],
    shell:
        "python -m howto100m report --results results --settings {params.settings:q}"
        " --output {output.page} --datasheet {output.datasheet} > {log} 2>&1"


rule write_annotation_page:
    input:
        expand(
            "results/{stage}/{shard}.parquet",
            stage=["clips", "media"],
            shard=SHARDS,
        ),
    output:
        "results/annotate.html",
    log:
        "logs/annotate.log",
    conda:
        "../envs/embedding.yaml"
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        number=config["annotate"]["pairs"],
        seed=config["annotate"]["seed"],
    shell:
        "python -m howto100m annotate --results results --number {params.number}"
        " --seed {params.seed} --output {output} > {log} 2>&1"
