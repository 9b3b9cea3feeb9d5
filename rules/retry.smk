rule retry:
    """Ask YouTube again for what failed and is worth it (docs/running.md)."""
    input:
        WORLD,
    log:
        "logs/retry.log",
    localrule: config["crawl_here"]
    conda:
        "../envs/features.yaml"
    resources:
        youtube=1,
        mem_mb=more(1000),
        runtime=more(2880),
    params:
        sites=SITES,
    shell:
        "python -m howto100m retry --results results --store media {params.sites} > {log} 2>&1"
