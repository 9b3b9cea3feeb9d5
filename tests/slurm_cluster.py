"""A Slurm cluster of one node on this machine, out of Debian's packages: no systemd, no cgroups."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
# The job step of Snakemake's executor drops SLURM_CONF, so nothing but the default place will do.
ETC = Path("/etc/slurm")
STATE = Path("/run/howto100m-slurm")
CPUS, MEMORY = 48, 96_000
"""What the node says it has, whatever the machine has: room for two of the workflow's GPU jobs."""
GPUS = ("/dev/null", "/dev/zero")
"""GPUs by count: Slurm wants to see a file for each, and any device does."""


def lacking() -> str:
    """Why no cluster can be started here, "" where it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=os.defpath + ":/usr/sbin")]
    if missing:
        return f"no Slurm here ({', '.join(missing)}): apt-get install slurmctld slurmd munge"
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    return ""


def _configuration(state: Path, host: str) -> dict[str, str]:
    version = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    return {
        "slurm.conf": f"""
            ClusterName=test
            SlurmctldHost={host}(127.0.0.1)
            SlurmUser=root
            AuthType=auth/munge
            StateSaveLocation={state}/ctld
            SlurmdSpoolDir={state}/slurmd
            SlurmctldPidFile={state}/slurmctld.pid
            SlurmdPidFile={state}/slurmd.pid
            SlurmctldLogFile={state}/slurmctld.log
            SlurmdLogFile={state}/slurmd.log
            SlurmdParameters=config_overrides
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            JobAcctGatherType=jobacct_gather/none
            AccountingStorageType=accounting_storage/none
            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core_Memory
            SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
            MailProg=/bin/true
            MpiDefault=none
            TaskProlog={state}/note
            ReturnToService=2
            # squeue is asked what became of a job, so it must remember those that ended.
            MinJobAge=3600
            GresTypes=gpu
            NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{len(GPUS)}
            PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
            PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
            """,
        "gres.conf": "\n".join(f"NodeName={host} Name=gpu File={file}" for file in GPUS),
        # Debian 12 has 22.05, which knows no `disabled`.
        "cgroup.conf": f"CgroupPlugin={'cgroup/v1' if ' 22.' in version else 'disabled'}",
    }


@contextmanager
def cluster() -> Iterator[None]:
    """Start munge, slurmctld and slurmd; stop them and take the configuration away at the end.

    What a killed run left is stopped first. Raises RuntimeError when the machine has a cluster of
    its own, or with the daemons' logs when the node does not come up within 30 s.
    """
    host = socket.gethostname().partition(".")[0]
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    with Path("/run/lock/howto100m-slurm").open("w") as lock:
        flock(lock, LOCK_EX)  # another checkout's tests
        files = _configuration(STATE, host)
        _stop(files)
        if (ETC / "slurm.conf").exists():
            raise RuntimeError(f"{ETC}/slurm.conf exists: this machine has a cluster of its own")
        try:
            for name in ("ctld", "slurmd"):
                (STATE / name).mkdir(parents=True)
            ETC.mkdir(exist_ok=True)
            for name, text in files.items():
                lines = [line.strip() for line in text.splitlines()]
                (ETC / name).write_text("\n".join(lines) + "\n")
            _start(STATE)
            yield
        finally:
            _stop(files)


def visible_gpus() -> dict[int, str]:
    """CUDA_VISIBLE_DEVICES of each job that has begun, by its id; "" where it has none."""
    seen = STATE / "visible"
    lines = seen.read_text().splitlines() if seen.exists() else []
    return {int(job): gpus for job, _, gpus in (line.partition(" ") for line in lines)}


def _start(state: Path) -> None:
    note = state / "note"
    note.write_text(f'#!/bin/sh\necho "$SLURM_JOB_ID $CUDA_VISIBLE_DEVICES" >> {state}/visible\n')
    note.chmod(0o755)
    key = state / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    Path("/run/munge").mkdir(mode=0o755, exist_ok=True)
    places = [f"--{what}-file={state}/munged.{what}" for what in ("pid", "log", "seed")]
    subprocess.run(["munged", "--force", f"--key-file={key}", *places], check=True)
    for daemon in ("slurmctld", "slurmd"):
        subprocess.run([daemon, "-c"], check=True, stderr=subprocess.DEVNULL)
    for _ in range(60):
        asked = ["sinfo", "--noheader", "--format=%t", "--partition=cpu"]
        if subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "idle\n":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in state.glob("*.log"))
    raise RuntimeError(f"the node does not come up:\n{logs}")


def _stop(files: Iterable[str]) -> None:
    """Stop the daemons of our state folder, and take it and our configuration away."""
    if not STATE.exists():
        return
    for name in ("slurmd.pid", "slurmctld.pid", "munged.pid"):
        path = STATE / name
        if path.exists():
            _end(int(path.read_text()))
    for file in files:
        (ETC / file).unlink(missing_ok=True)
    shutil.rmtree(STATE)


def _end(pid: int) -> None:
    """End a daemon, by force where it takes longer than 10 s; a zombie's command line is empty."""
    command = Path(f"/proc/{pid}/cmdline")
    for signal in (15, 9):
        for _ in range(100):
            if not command.exists() or not command.read_bytes():
                return
            os.kill(pid, signal)
            time.sleep(0.1)
