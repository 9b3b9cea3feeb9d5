rule make_sample:
    output:
        "results/sample/world.json",
    log:
        "logs/sample.log",
    conda:
        "../envs/features.yaml"
    threads: 8
    resources:
        mem_mb=more(8000),
        runtime=more(60),
    params:
        seed=config["sample"]["seed"],
        videos=config["sample"]["videos"],
        held_out=config["sample"]["held_out"],
    shell:
        "python -m howto100m sample --output results/sample --seed {params.seed}"
        " --videos {params.videos} --held-out {params.held_out} --workers {threads} > {log} 2>&1"
