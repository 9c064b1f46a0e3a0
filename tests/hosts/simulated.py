"""Several hosts on one machine, for tests and benchmarks of what goes over a network.

A host is a set of Linux namespaces: its own network, host name, processes and IPC, and its own small
/dev/shm. Data go over `eth0`, a rate-limited link to a switch. mpirun starts and watches its ranks over
`control`, a second network that faults never touch, so that a test hears from ranks whose link is cut. The
files of the machine are shared, as on a cluster with a network file system.

Nothing is named: a namespace lives as long as the process that holds it, and that process ends when its
standard input closes. So hosts, links and every process on them vanish with the program that made them,
also after `kill -9`, and two programs never meet.

Needs root, iproute2 and util-linux on Linux, and MPICH's mpirun.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ENTER = Path(__file__).with_name("enter.sh")
TOOLS = ("ip", "tc", "bridge", "unshare", "nsenter", "mount", "hostname")

CONTROL = "10.78.0.254"  # where mpirun runs, on the control network

# How MPICH goes through the link: UCX, left alone, notices that the hosts are one machine and goes round it.
NETMODS = {
    "ofi": {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp", "FI_TCP_IFACE": "eth0"},
    "ucx": {"MPIR_CVAR_CH4_NETMOD": "ucx", "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"},
}


@dataclass(frozen=True)
class Placement:
    """Where ranks go: what to put before `mpirun -n RANKS …`, and what into its environment."""

    wrapper: list[str]
    env: dict[str, str]
    ranks: int


def find_mpirun() -> str | None:
    """Path of this environment's mpirun, or the first on PATH."""
    return shutil.which("mpirun", path=os.path.dirname(sys.executable)) or shutil.which("mpirun")


def unavailable() -> str | None:
    """Why hosts cannot be built here, or None where they can."""
    if not sys.platform.startswith("linux"):
        return "simulated hosts need Linux"
    if os.geteuid() != 0:
        return "simulated hosts need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"simulated hosts need {', '.join(missing)} (Debian: iproute2, util-linux)"
    if (mpirun := find_mpirun()) is None:
        return "simulated hosts need mpirun (pip install mpich)"
    if "HYDRA" not in subprocess.run([mpirun, "--version"], capture_output=True, text=True).stdout:
        return "simulated hosts need MPICH's mpirun (Hydra)"
    namespaces = ["--net", "--uts", "--ipc", "--mount", "--pid", "--fork"]
    probe = subprocess.run(
        ["unshare", *namespaces, "ip", "link", "add", "type", "veth"], capture_output=True, text=True
    )
    if probe.returncode:
        return f"no rights to make namespaces and links: {probe.stderr.strip()}"
    return None


class Hosts:
    """A context manager: `count` hosts behind one switch.

    Parameters
    ----------
    count
        Number of hosts.
    rate
        Speed of each link, each way, as `tc` writes it ("1gbit"). Headers count: TCP gets 95.7% of it.
    burst
        What the link sends at once, as `tc` writes it. With less than TCP's segments of 64 KiB the kernel
        cuts them into packets, which a network card would do, and a small machine runs out of CPU before it
        runs out of link.
    names
        Host names, equal ones allowed. Default: host0, host1, …
    shm
        Size of each host's /dev/shm, as `mount -t tmpfs` writes it.
    """

    def __init__(
        self,
        count: int,
        *,
        rate: str = "1gbit",
        burst: str = "128kb",
        names: Sequence[str] | None = None,
        shm: str = "64m",
    ) -> None:
        if not 1 <= count <= 200:
            raise ValueError(f"count: expected 1 to 200, got {count}")
        self.names = list(names) if names is not None else [f"host{i}" for i in range(count)]
        if len(self.names) != count:
            raise ValueError(f"names: expected {count}, got {len(self.names)}")
        self._addresses = [f"10.78.0.{i + 1}" for i in range(count)]
        self._link = f"root tbf rate {rate} burst {burst} latency 50ms"
        self._shm = shm
        self._switch: subprocess.Popen[str] | None = None
        self._hosts: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Hosts:
        try:
            self._switch = _hold(["--net"], "ip link set lo up")
            self._on_switch("ip link add switch type bridge && ip link set switch up")
            self._on_switch("ip link add control type bridge && ip link set control up")
            self._on_switch(f"ip addr add {CONTROL}/24 dev control")
            for i in range(len(self.names)):
                self._add_host(i)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every host with all its processes, and the network."""
        for holder in [*self._hosts, *filter(None, [self._switch])]:
            holder.kill()
            holder.communicate()
        self._hosts.clear()
        self._switch = None

    def run(self, host: int, command: str, *, timeout: float = 60.0) -> str:
        """Run a shell command on a host and return what it printed."""
        argv = [str(ENTER), self._addresses[host], command]
        return _check_output(argv, timeout, {**os.environ, "HOSTS_BY_ADDRESS": self._by_address()})

    def place(self, ranks_per_host: int | Sequence[int], netmod: str = "ofi") -> Placement:
        """Return how to start ranks on the hosts.

        Parameters
        ----------
        ranks_per_host
            One number for all hosts, or one a host (0 leaves a host out).
        netmod
            "ofi" or "ucx": by which of its ways MPICH uses TCP. With "ucx" it crashes when a peer dies.
        """
        counts = (
            [ranks_per_host] * len(self._hosts) if isinstance(ranks_per_host, int) else list(ranks_per_host)
        )
        slots = ",".join(f"{a}:{n}" for a, n in zip(self._addresses, counts, strict=True) if n)
        options = ["-launcher", "ssh", "-launcher-exec", str(ENTER), "-localhost", CONTROL, "-hosts", slots]
        insert = f'exec "$0" {shlex.join(options)} "$@"'  # $0 is mpirun
        env = {"HOSTS_BY_ADDRESS": self._by_address()} | NETMODS[netmod]
        return Placement([*_enter_network(self._switch), "sh", "-c", insert], env, sum(counts))

    def mpirun(
        self,
        ranks_per_host: int | Sequence[int],
        argv: Sequence[str],
        *,
        netmod: str = "ofi",
        timeout: float = 120.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the hosts, in this process's directory, and return its exit status and text.

        Parameters
        ----------
        ranks_per_host, netmod
            As for `place`.
        argv
            Program and arguments.
        timeout
            Seconds. After it everything on the hosts is killed, and `subprocess.TimeoutExpired` raised.
        env
            Additions to the environment.
        """
        place = self.place(ranks_per_host, netmod)
        command = [*place.wrapper, find_mpirun() or "mpirun", "-n", str(place.ranks), *argv]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command,
            env=dict(os.environ) | place.env | dict(env or {}),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException as error:
            process.kill()
            self.kill_all()
            out, err = process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise subprocess.TimeoutExpired(command, timeout, out, err) from None
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def kill_all(self) -> None:
        """Kill every process on the hosts; the hosts stay."""
        for host in range(len(self._hosts)):
            self.run(host, "kill -9 -1 || true")

    def sent_bytes(self, host: int) -> int:
        """Bytes that the host has sent into its link so far, headers included."""
        return self._counted(host, "tx")

    def received_bytes(self, host: int) -> int:
        """Bytes that have come to the host over its link so far, headers included."""
        return self._counted(host, "rx")

    def processes(self, host: int) -> list[str]:
        """Names of the processes on the host, without the one that holds it."""
        return self.run(host, "cat /proc/[2-9]*/comm /proc/1?*/comm 2>/dev/null; true").split()

    def link_down(self, host: int) -> None:
        """Pull the cable: both ends see that the link is down."""
        self._on_switch(f"ip link set port{host} down")

    def link_up(self, host: int) -> None:
        """Plug it in again."""
        self._on_switch(f"ip link set port{host} up")

    def blackhole(self, host: int) -> None:
        """Let the switch drop all that comes from the host or goes to it, unnoticed by either end."""
        self._on_switch(f"bridge link set dev port{host} state 0")

    def power_off(self, host: int) -> None:
        """End a host at once, with its processes and its link."""
        self._hosts[host].kill()
        self._hosts[host].communicate()

    def _add_host(self, i: int) -> None:
        namespaces = ["--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        shm = f"mount -t tmpfs -o size={self._shm} tmpfs /dev/shm"
        host = _hold(namespaces, f"hostname {self.names[i]} && {shm} && ip link set lo up")
        self._hosts.append(host)
        for port, device, bridge in ((f"port{i}", "eth0", "switch"), (f"control{i}", "control", "control")):
            self._on_switch(f"ip link add {port} type veth peer name {device} netns {host.pid}")
            self._on_switch(f"ip link set {port} master {bridge} up")
        self._on_switch(f"tc qdisc add dev port{i} {self._link}")
        self.run(i, f"ip addr add {self._addresses[i]}/24 dev control && ip link set control up")
        self.run(i, f"ip addr add 10.77.0.{i + 1}/24 dev eth0 && ip link set eth0 up")
        self.run(i, f"tc qdisc add dev eth0 {self._link}")

    def _on_switch(self, command: str) -> str:
        return _check_output([*_enter_network(self._switch), "sh", "-c", command], 60.0, None)

    def _counted(self, host: int, way: str) -> int:
        # Not from /sys, which shows the machine's own devices here.
        (device,) = json.loads(self.run(host, "ip -json -statistics link show eth0"))
        return int(device["stats64"][way]["bytes"])

    def _by_address(self) -> str:
        return " ".join(f"{a}={h.pid}" for a, h in zip(self._addresses, self._hosts, strict=False))


def _hold(namespaces: Sequence[str], setup: str) -> subprocess.Popen[str]:
    """Start the process that holds new namespaces, and wait until `setup` has run in them."""
    # `cat` ends when its input closes, thus with this process; --kill-child ends it with unshare. Process 1
    # of its namespace, it takes all others with it, and inherits orphans, which leave no zombies.
    hold = "exec env --ignore-signal=CHLD cat"
    argv = ["unshare", *namespaces, "sh", "-c", f"{setup} && echo ready && {hold}"]
    pipe = subprocess.PIPE
    holder = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    assert holder.stdout is not None
    if holder.stdout.readline() != "ready\n":
        holder.kill()
        holder.communicate()
        raise OSError(f"could not set up a host: {setup}")
    return holder


def _enter_network(holder: subprocess.Popen[str] | None) -> list[str]:
    if holder is None:
        raise RuntimeError("the hosts are not there: expected use inside `with Hosts(…)`")
    return ["nsenter", "--target", str(holder.pid), "--net", "--"]


def _check_output(argv: Sequence[str], timeout: float, env: Mapping[str, str] | None) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, env=env, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
