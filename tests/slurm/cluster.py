"""A real SLURM cluster of two nodes on this machine: munged, slurmctld and two slurmd, on the loopback only.

All that it writes is in one folder, with a munge key of its own; it ends only what it started. By hand:

    python -m tests.slurm.cluster up FOLDER [--tracker cgroup]     prints what to export
    python -m tests.slurm.cluster down FOLDER
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
}
TRACKERS = ("linuxproc", "cgroup")
FREEZER = Path("/sys/fs/cgroup/freezer")
NODES = ("n1", "n2")
SBIN = "/usr/sbin:/sbin"

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again; 120 s if not given
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/{tracker}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=10
MinJobAge=3600
ReturnToService=2
# a node that is silent for so long is lost; 300 s if not given
SlurmdTimeout=30
# a node may offer more processors than there are
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 Gres=gpu:2
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 Gres=gpu:2
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=60 DefaultTime=10
PartitionName=night Nodes=n1,n2 MaxTime=UNLIMITED
"""
_CGROUP = """\
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
"""


def missing(tracker: str) -> str | None:
    """Why there can be no such cluster here; packages are installed where that is possible."""
    if os.geteuid() != 0:
        return "a SLURM cluster is started by root"
    if tracker == "cgroup" and not FREEZER.is_dir():
        return f"proctrack/cgroup of this SLURM needs the freezer of cgroup v1; there is no {FREEZER}"
    needed = [
        package for program, package in PACKAGES.items() if not _which(program)
    ]
    if needed and not shutil.which("apt-get"):
        return f"there is no {', '.join(needed)} and no apt-get to install it"
    if needed:
        quiet = {
            "capture_output": True,
            "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        }
        subprocess.run(["apt-get", "update", "-q"], **quiet)
        subprocess.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *needed],
            **quiet,
        )
    absent = [
        package for program, package in PACKAGES.items() if not _which(program)
    ]
    return f"apt-get cannot install {', '.join(absent)}" if absent else None


class Cluster:
    """Two nodes in a folder.

    Args:
        folder: private to the cluster; SLURM takes no spaces in it.
        tracker: ``linuxproc`` signals every process of a step, ``cgroup`` only its tasks.
    """

    def __init__(self, folder: Path, tracker: str = "linuxproc") -> None:
        self.folder, self.tracker = folder.absolute(), tracker
        self.conf = self.folder / "slurm.conf"

    def up(self) -> None:
        """Start what does not run; return when both nodes can take jobs."""
        for name in ("munge", "state", "log", "run", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in (self.folder, self.folder / "munge"):
            path.chmod(0o755)  # munged insists
        if not self.conf.exists():
            self._configure()
        self._start("munged", "munged", *self._munge())
        self._start("slurmctld", "slurmctld", "-f", str(self.conf))
        for node in NODES:
            self._start(
                f"slurmd-{node}", "slurmd", "-N", node, "-f", str(self.conf)
            )
        self._wait_for_nodes()

    def lose(self, node: str) -> None:
        """Kill all that runs on a node at once, as when its power fails; :meth:`up` brings it back."""
        ours = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.conf}"}
        tasks = {pid for pid in _processes() if ours <= _environment(pid)}
        steps = {
            above
            for pid in tasks
            for above in _ancestors(pid)
            if _name(above).startswith("slurmstepd")
        }
        for pid in {self._alive(f"slurmd-{node}"), *steps, *tasks} - {None}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def state(self, node: str) -> str:
        """Of a node, as the controller sees it; sinfo calls one that is down "completing" while a job leaves it."""
        return re.findall(
            r"State=(\S+)", self.run("scontrol", "show", "node", node)
        )[0].lower()

    def down(self) -> None:
        """Cancel all jobs, then end the daemons."""
        if self._alive("slurmctld"):
            self.run("scancel", "--user=root")
            self._wait(lambda: not self.run("squeue", "-h").strip(), 20)
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"):
            if pid := self._alive(name):
                os.kill(pid, signal.SIGTERM)
                if not self._wait(lambda name=name: not self._alive(name), 10):
                    os.kill(pid, signal.SIGKILL)

    def run(self, *command: str) -> str:
        """What a program of SLURM prints about this cluster."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"SLURM_CONF": str(self.conf)},
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _configure(self) -> None:
        values = {
            "host": socket.gethostname().partition(".")[0],
            "folder": self.folder,
            "tracker": self.tracker,
        }
        (self.folder / "munge/key").touch(mode=0o600)
        (self.folder / "munge/key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "gres.conf").write_text(
            "Name=gpu File=/dev/tty[0-1]\n"
        )  # any character device will do
        if self.tracker == "cgroup":
            (self.folder / "cgroup.conf").write_text(_CGROUP)
        self.conf.write_text(
            _CONF.format(**values, ports=_free_ports(3), nodes=NODES)
        )

    def _munge(self) -> list[str]:
        files = {
            "key-file": "munge/key",
            "socket": "munge/socket",
            "pid-file": "run/munged.pid",
        }
        files |= {"log-file": "log/munged.log", "seed-file": "munge/seed"}
        return [
            *(f"--{name}={self.folder / file}" for name, file in files.items()),
            "--num-threads=2",
        ]

    def _start(self, name: str, program: str, *arguments: str) -> None:
        if self._alive(name):
            return
        found = _which(program)
        assert found is not None
        log = self.folder / "log" / f"{name}.start"
        with log.open("w") as output:
            code = subprocess.run(
                [found, *arguments], stdout=output, stderr=output
            ).returncode
        assert code == 0, f"{name}: {log.read_text()}"

    def _alive(self, name: str) -> int | None:
        """The process of one of our daemons."""
        try:
            pid = int((self.folder / f"run/{name}.pid").read_text())
            program = Path(f"/proc/{pid}/comm").read_text().strip()
        except (FileNotFoundError, ValueError):
            return None
        return pid if program == name.partition("-")[0] else None

    def _wait_for_nodes(self) -> None:
        ready = ("idle", "mixed", "allocated", "completing")

        def up() -> bool:
            done = subprocess.run(
                ["sinfo", "-h", "-N", "-p", "debug", "-o", "%T"],
                env=os.environ | {"SLURM_CONF": str(self.conf)},
                capture_output=True,
                text=True,
            )
            return [state in ready for state in done.stdout.split()] == [
                True
            ] * len(NODES)

        if not self._wait(up, 60):
            logs = "\n".join(
                file.read_text()[-500:]
                for file in sorted((self.folder / "log").glob("*.log"))
            )
            raise AssertionError(f"the cluster did not come up\n{logs}")

    @staticmethod
    def _wait(condition, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.2)
        return False


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _environment(pid: int) -> set[str]:
    try:
        return set(
            Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
        )
    except OSError:
        return set()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _ancestors(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):
        while found[-1] > 1:
            found.append(
                int(
                    Path(f"/proc/{found[-1]}/stat")
                    .read_text()
                    .rpartition(")")[2]
                    .split()[1]
                )
            )
    return found[1:]


def main() -> None:
    """Start or end a cluster by hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracker", choices=TRACKERS, default="linuxproc")
    given = parser.parse_args()
    cluster = Cluster(given.folder, given.tracker)
    if given.action == "down":
        cluster.down()
    elif reason := missing(given.tracker):
        raise SystemExit(reason)
    else:
        cluster.up()
        print(f"export SLURM_CONF={cluster.conf}")


if __name__ == "__main__":
    main()
