"""Hosts made on one Linux machine: each a network namespace with its own sshd, processes, hostname and home.

    with made_hosts(folder, ("head", "worker-1"), python_site) as hosts: ...

A bridge stands in for the switch; the machine itself is on it too, as the user's laptop. A host's own are: its
address, hostname and process ids (Ray's start commands end every Ray they can see), /tmp/ray, /dev/shm, /run, its
home, and the root user's ssh key. Shared between them is /mnt/raydarts, one folder mounted in each: it stands in for
NFS. Everything else (the system, Python) is the machine's. Needs root, and what `missing()` looks for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("ip", "unshare", "ssh", "ssh-keygen", "rsync", "mount", "hostname")
SSHD = "/usr/sbin/sshd"

_START = r"""
set -e
hostname "$NAME"
mount --make-rprivate /
for own in /run /dev/shm /tmp/ray /mnt; do mkdir -p $own; mount -t tmpfs -o mode=1777 own $own; done
mkdir -p /run/sshd /mnt/raydarts
mount --bind "$SHARED" /mnt/raydarts
for file in passwd shadow hosts; do mount --bind "$FOLDER/$file" /etc/$file; done
exec /usr/sbin/sshd -D -E "$FOLDER/sshd.log" -f "$FOLDER/sshd_config"
"""


def missing() -> str | None:
    """What this machine lacks to make hosts; None: nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not Path(SSHD).exists():
        absent.append("sshd")
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: iproute2 util-linux openssh-server rsync)"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True)
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.decode().strip()}"


def packages() -> list[str]:
    """Where this Python's packages lie."""
    return [path for path in sys.path if Path(path, "ray").is_dir() or Path(path, "aiohttp").is_dir()]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Host:
    """One host: `name` is its hostname, `address` where it is reached."""

    name: str
    address: str
    folder: Path
    namespace: str
    link: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, shared: Path) -> None:
        """Power it on."""
        environment = {"PATH": os.environ["PATH"], "NAME": self.name, "FOLDER": str(self.folder), "SHARED": str(shared)}
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "unshare", *namespaces, "sh", "-c", _START],
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )

    def cut_off(self) -> None:
        """Power it off: every process on it is gone at once, without a word."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def listening(self) -> str:
        """What `ss` shows of its listening sockets."""
        command = ["ip", "netns", "exec", self.namespace, "ss", "-H", "-tln"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass
class Hosts:
    """The hosts, the folder they share, and the key that opens them."""

    all: list[Host]
    shared: Path
    key: Path

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.all if host.name == name)

    def ssh(self, host: Host, command: str) -> subprocess.CompletedProcess[str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5"]
        flags = [word for option in options for word in ("-o", option)]
        arguments = ["ssh", "-i", str(self.key), *flags, f"root@{host.address}", command]
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)

    def wait(self) -> None:
        """Until every host answers over ssh."""
        for host in self.all:
            deadline = time.monotonic() + 30
            while (done := self.ssh(host, "hostname")).stdout.strip() != host.name:
                if time.monotonic() > deadline:
                    log = host.folder / "sshd.log"
                    told = log.read_text() if log.exists() else ""
                    raise RuntimeError(f"{host.name} does not answer over ssh: {done.stderr}{told}")
                time.sleep(0.2)


def _write_home(host: Host, places: Sequence[str]) -> None:
    """A home as an image with Python, torch and Ray ready would have it, and no network to install from.

    `~/raydarts/venv` is a virtual environment that also sees this machine's packages, but not this checkout.
    """
    venv = host.home / "raydarts" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)}))
    (purelib / "machine.pth").write_text("\n".join(places) + "\n")
    ray = venv / "bin" / "ray"
    ray.write_text(f"#!{venv}/bin/python\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n")
    ray.chmod(0o755)
    (host.home / ".config" / "pip").mkdir(parents=True)
    (host.home / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\n")


def _write_system(host: Host, hosts: Sequence[Host], key: Path) -> None:
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host.folder / "host_key"))
    (host.folder / "passwd").write_text(
        f"root:x:0:0:root:{host.home}:/bin/bash\nsshd:x:101:65534::/run/sshd:/bin/false\n"
    )
    (host.folder / "shadow").write_text("root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")
    (host.folder / "hosts").write_text(
        "".join(f"{other.address} {other.name}\n" for other in hosts) + "127.0.0.1 localhost\n"
    )
    (host.folder / "sshd_config").write_text(
        f"ListenAddress {host.address}\nHostKey {host.folder}/host_key\nAuthorizedKeysFile {key}.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "UseDNS no\nMaxStartups 100\nMaxSessions 100\n"
    )


@contextmanager
def made_hosts(folder: Path, names: Sequence[str], places: Sequence[str]) -> Iterator[Hosts]:
    """Make the hosts, power them on, and take everything away again at the end, however it comes."""
    mark = os.getpid() % 100000
    subnet = f"10.213.{os.getpid() % 250}"
    bridge = f"rd{mark}"
    key = folder / "key"
    shared = folder / "shared"
    shared.mkdir(parents=True)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    made = [
        Host(name, f"{subnet}.{index + 10}", folder / name, f"{bridge}-{name}", f"{bridge}v{index}")
        for index, name in enumerate(names)
    ]
    hosts = Hosts(made, shared, key)
    try:
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{subnet}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        for host in made:
            host.home.mkdir(parents=True)
            _write_home(host, places)
            _write_system(host, made, key)
            _run("ip", "netns", "add", host.namespace)
            _run("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            _run("ip", "link", "set", host.link, "master", bridge, "up")
            inside = ("ip", "-n", host.namespace)
            _run(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _run(*inside, "link", "set", "eth0", "up")
            _run(*inside, "link", "set", "lo", "up")
            _run(*inside, "route", "add", "default", "via", f"{subnet}.1")
            host.start(shared)
        hosts.wait()
        yield hosts
    finally:
        for host in made:
            host.cut_off()
            subprocess.run(["ip", "netns", "del", host.namespace], check=False, capture_output=True)
            subprocess.run(["ip", "link", "del", host.link], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
