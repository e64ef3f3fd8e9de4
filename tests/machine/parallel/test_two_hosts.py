"""Ranks on two hosts: network namespaces with addresses of their own, and MPICH's launcher between them by ssh.

Each host has a name, a home with Theano's compile folder, and data of its own. A normal test run
leaves this out, for a cut link is noticed after most of a minute; ``pytest -m two_hosts`` needs
root, iproute2 and OpenSSH's server.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ranks import FLOAT64, MPIEXEC, ROOT, environment, needs_mpi

from pixelvae.machine.files.arrays import load_arrays

pytestmark = [needs_mpi, pytest.mark.two_hosts]

PROMISED_S = 60  # docs/cluster.md: until a rank that is gone is noticed
NAMES = ("nodea", "nodeb")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
TRAIN = ("train", "--data", "images.npz", "--out", "run", "--model", "gated-pixelvae-noup", "--preset", "few-cores",
         "--layers", "1", "--dim-pix", "2", "--latent-dim", "2", "--filter-size", "3", "--batch-size", "7",
         "--eval-every", "10", "--iterations")  # fmt: skip
SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
SSH = """#!/bin/sh
exec {ssh} -i {folder}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$@"
"""
RANK = """#!/bin/sh
export HOME={folder}/$(hostname)
cd $HOME && exec {python} {root}/experiments/mnist_pixelvae.py "$@" 2>> errors
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Hosts:
    """Two hosts with a link between them; the first is where commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spaces = [f"pixelvae{os.getpid()}{name}" for name in NAMES]
        self._servers: list[subprocess.Popen] = []

    def start(self) -> None:
        """Make them; raises CalledProcessError where namespaces are not allowed."""
        for space in self.spaces:
            ip("netns", "add", space)
        cards = ("pixelvae-a", "pixelvae-b")
        ip("link", "add", cards[0], "netns", self.spaces[0], "type", "veth",
           "peer", "name", cards[1], "netns", self.spaces[1])  # fmt: skip
        self._card = cards[0]
        for space, card, address in zip(self.spaces, cards, ADDRESSES):
            ip("-n", space, "addr", "add", f"{address}/24", "dev", card)
            ip("-n", space, "link", "set", card, "up")
            ip("-n", space, "link", "set", "lo", "up")
        for name in ("key", "hostkey"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(words, check=True)
        facts = {"folder": self.folder, "python": sys.executable, "root": ROOT}
        for name, text in (("ssh", SSH), ("rank", RANK)):
            (self.folder / name).write_text(text.format(ssh=shutil.which("ssh"), **facts))
            (self.folder / name).chmod(0o755)
        for host, (name, address) in enumerate(zip(NAMES, ADDRESSES)):
            home = self.folder / name
            home.mkdir()
            save_images(home / "images.npz", seed=0)
            config = self.folder / f"sshd-{name}"
            config.write_text(SSHD.format(address=address, folder=self.folder))
            server = [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-f", str(config)]
            self._servers.append(subprocess.Popen(self._on(host, *server)))

    def _on(self, host: int, *words) -> list[str]:
        shell = f'hostname {NAMES[host]} && exec "$@"'
        inside = ["ip", "netns", "exec", self.spaces[host], "unshare", "--uts"]
        return [*inside, "sh", "-c", shell, "sh", *map(str, words)]

    def launch(self, *words: object) -> subprocess.Popen:
        """Start a command of the experiment on a rank of each host."""
        launcher = [
            MPIEXEC,
            "-launcher",
            "ssh",
            "-launcher-exec",
            self.folder / "ssh",
            "-localhost",
            ADDRESSES[0],
        ]
        ranks = ["-hosts", ",".join(ADDRESSES), "-n", 2, "-ppn", 1, self.folder / "rank"]
        return subprocess.Popen(
            self._on(0, *launcher, *ranks, *words),
            # Else they find that they share memory, and leave the network alone.
            env=environment(**FLOAT64, UCX_TLS="tcp,self"), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def output(self, *words: object, status: int = 0) -> str:
        """What such a command prints until it ends with a status."""
        process = self.launch(*words)
        said, _ = process.communicate(timeout=400)
        assert process.returncode == status, self.errors()
        return said

    def alone(self, *words: object) -> str:
        """What a command prints on the first host alone."""
        return subprocess.check_output(
            self._on(0, self.folder / "rank", *words), env=environment(**FLOAT64), text=True
        )

    def errors(self) -> list[list[str]]:
        """The lines of standard error of each host since the last time."""
        lines = []
        for name in NAMES:
            file = self.folder / name / "errors"
            lines.append(file.read_text().splitlines() if file.exists() else [])
            file.unlink(missing_ok=True)
        return lines

    def processes(self, host: int) -> list[int]:
        """The processes of the experiment on a host."""
        pids = subprocess.check_output(["ip", "netns", "pids", self.spaces[host]], text=True)
        return [int(pid) for pid in pids.split() if b"mnist_pixelvae.py" in command_line(pid)]

    def link(self, state: str) -> None:
        """Set the link "up" or "down"."""
        ip("-n", self.spaces[0], "link", "set", self._card, state)

    def delay(self, *more: str) -> bool:
        """Delay what goes out; whether the kernel can."""
        words = ["tc", "-n", self.spaces[0], "qdisc", "add", "dev", self._card, "root", "netem"]
        return subprocess.run([*words, "delay", *more], capture_output=True).returncode == 0

    def stop(self) -> None:
        """End all that runs on them, and the hosts."""
        for space in self.spaces:
            listed = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
            for pid in listed.stdout.split():
                with contextlib.suppress(ProcessLookupError):  # it went with another
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)
        for server in self._servers:
            server.wait()


def command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def save_images(path: Path, seed: int) -> None:
    rng = np.random.RandomState(seed)
    sizes = {"train": 23, "valid": 250, "test": 120}
    np.savez(path, **{s: rng.randint(0, 2, (n, 6, 5)).astype("uint8") for s, n in sizes.items()})


def checkpoint(run: Path):
    arrays, header = load_arrays(run / "checkpoint.npz", kind="checkpoint")
    return arrays, header["iteration"]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    for tool in ("ip", "ssh", "ssh-keygen", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}: apt-get install iproute2 openssh-server")
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("there is no sshd: apt-get install openssh-server")
    two = Hosts(tmp_path_factory.mktemp("hosts"))
    try:
        two.start()
    except subprocess.CalledProcessError as problem:
        two.stop()
        pytest.skip(f"network namespaces are not allowed here: {problem.stderr.strip()}")
    try:
        Path("/run/sshd").mkdir(exist_ok=True)  # which sshd wants to have
        time.sleep(1)
        yield two
    finally:
        two.stop()


def test_train_evaluate_and_resume_on_one(hosts):
    hosts.output(*TRAIN, 20)
    first, second = hosts.errors()
    assert any("iteration 20: bound" in line for line in first) and second == []
    assert not (hosts.folder / NAMES[1] / "run").exists()  # the first host's rank alone writes
    words = (
        "evaluate",
        "run",
        "--data",
        "images.npz",
        "--importance-samples",
        "20",
        "--images",
        "30",
        "--json",
    )
    assert hosts.output(*words) == hosts.alone(*words)
    hosts.alone(*TRAIN, 30)
    hosts.alone(*(word if word != "run" else "whole" for word in TRAIN), 30)
    home = hosts.folder / NAMES[0]
    (ours, iteration), (theirs, _) = checkpoint(home / "run"), checkpoint(home / "whole")
    assert iteration == 30
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-10, err_msg=name)
    results = json.loads((home / "run" / "results.json").read_text())
    assert results["iteration"] <= 30
    hosts.errors()


def test_a_host_with_other_data(hosts):
    """Both are named, with checksums, before anything is made."""
    other = hosts.folder / NAMES[1] / "images.npz"
    save_images(other, seed=1)
    try:
        hosts.output(*(word if word != "run" else "unmade" for word in TRAIN), 20, status=2)
    finally:
        save_images(other, seed=0)
    [line] = [line for line in hosts.errors()[0] if line.startswith("error: ")]
    assert line.startswith(
        "error: rank 1 (nodeb) has the data images.npz (23/250/120 images, checksum "
    )
    assert ", and rank 0 (nodea) the data images.npz (23/250/120 images, checksum " in line
    assert not (hosts.folder / NAMES[0] / "unmade").exists()


def test_a_cut_link_ends_both_sides_and_the_last_checkpoint_resumes(hosts):
    run = hosts.folder / NAMES[0] / "cut"
    train = [word if word != "run" else "cut" for word in TRAIN]
    process = hosts.launch(*train, 1_000_000)
    deadline = time.monotonic() + 300
    while not (run / "checkpoint.npz").exists() or checkpoint(run)[1] < 20:
        assert time.monotonic() < deadline and process.poll() is None, hosts.errors()
        time.sleep(0.1)
    cut = time.monotonic()
    hosts.link("down")
    try:
        ended: dict[int, float] = {}
        while len(ended) < 2 and time.monotonic() < cut + 2 * PROMISED_S:
            for host in range(2):
                if host not in ended and not hosts.processes(host):
                    ended[host] = time.monotonic() - cut
            time.sleep(0.2)
        assert len(ended) == 2 and max(ended.values()) < PROMISED_S, ended
        assert process.wait(timeout=20) != 0
    finally:
        hosts.link("up")
    for lines, other, name in zip(hosts.errors(), (1, 0), reversed(NAMES)):
        assert not any("Traceback" in line or "Abort" in line for line in lines)
        [line] = [line for line in lines if line.startswith("rank ")]
        assert line.startswith(f"rank {other} of 2, on {name}, has given no sign of life for ")
        assert line.endswith("seconds: all ranks end; the last checkpoint is kept")
    _, iteration = checkpoint(run)
    assert iteration % 10 == 0
    hosts.alone(*train, iteration + 10)
    assert any(f"from iteration {iteration}" in line for line in hosts.errors()[0])
    assert checkpoint(run)[1] == iteration + 10


def test_a_millisecond_between_them(hosts):
    """An iteration waits for a few messages, one after another; prints both times."""
    train = [word if word != "run" else "near" for word in TRAIN]
    hosts.output(*train, 20)
    start = time.monotonic()
    hosts.output(*train, 220)
    near = time.monotonic() - start
    if not hosts.delay("1ms"):
        pytest.skip("this kernel has no netem, which delays packets")
    start = time.monotonic()
    hosts.output(*train, 420)
    far = time.monotonic() - start
    print(f"200 iterations: {near:.1f} s without delay, {far:.1f} s with 1 ms")
    assert far < near + 200 * 0.05
