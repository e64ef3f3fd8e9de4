"""The set-up: pins that agree with what runs, and messages that name a remedy."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.machinery import SourceFileLoader
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pins import pins

ROOT = Path(__file__).parents[2]
PYTHON = "%d.%d" % sys.version_info[:2]
TOOLS = ("sh", "cat", "dirname", "grep", "printf", "touch", "tr")  # that the scripts call


RUNNING = pins("requirements.txt", "requirements-dev.txt")


@pytest.mark.parametrize("name", sorted(RUNNING))
def test_what_runs_is_what_is_pinned(name):
    assert version(name) == RUNNING[name]


@pytest.mark.parametrize("name", sorted(RUNNING))
def test_what_a_package_needs_is_pinned_too(name):
    assert_pinned(RUNNING, name)


def assert_pinned(pinned, name):
    """What a package needs is among the pinned, in a version that does."""
    for line in distribution(name).requires or ():
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            assert canonicalize_name(needed.name) in pinned, line
            assert needed.specifier.contains(pinned[canonicalize_name(needed.name)]), line


def test_benchmarks_use_the_same_numpy():
    assert pins("requirements-bench.txt")["numpy"] == RUNNING["numpy"]


@pytest.mark.parametrize("what", ["mpi", "docs"])
def test_what_make_adds_is_what_is_pinned_and_so_is_what_it_needs(what):
    """Together with all else that runs."""
    added = pins(f"requirements-{what}.txt")
    for name, pinned in added.items():
        try:
            assert version(name) == pinned
        except PackageNotFoundError:
            pytest.skip(f"make {what} has not run here")
        assert_pinned({**RUNNING, **added}, name)


def test_container_conda_and_bundle_say_which_line_they_are_of():
    search = (ROOT / "scripts/find-python").read_text()
    reference = re.search(r"^versions=\D*(3\.\d+) ", search, re.M).group(1)
    conda = (ROOT / "environment.yml").read_text()
    assert re.search(r"- python=(\S+)", conda).group(1) == reference
    dockerfile = (ROOT / "Dockerfile").read_text()
    # The Python of a Debian is the one that its name says; a GPU's is the default.
    assert re.search(r"^ARG DEBIAN=(\w+)-\d{8}-slim$", dockerfile, re.M).group(1) == "bookworm"
    assert (
        re.search(r"--target cpu --build-arg DEBIAN=(\w+)-\d{8}-slim", dockerfile).group(1)
        == "trixie"
    )
    assert not re.search("python3[.]", dockerfile)
    bundle = (ROOT / "scripts/make-bundle").read_text()
    assert set(re.findall(r"python(3\.\d+)", bundle)) == {reference}
    assert "3.8 to 3.11" in conda and "3.12 to 3.14" in conda and "3.8 to 3.11" in bundle


def test_versions_stand_in_one_place():
    packaging = (
        "docker/entrypoint", "docker/verify", "docker/warm-cache", "docker/warm-gpu-cache", "scripts/make-bundle",
    )  # fmt: skip
    for file in (
        "environment.yml",
        "Dockerfile",
        "Makefile",
        "scripts/build-venv",
        ".ci/run",
        *packaging,
    ):
        assert not re.search(r"==\d", (ROOT / file).read_text()), file


def test_what_the_image_copies_and_runs_is_there():
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from|--chown=pixelvae \. )(.*)", dockerfile, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and source not in ignored, source
    for script in ("docker/entrypoint", "docker/warm-cache", "docker/warm-gpu-cache"):
        assert script in dockerfile
        assert os.access(ROOT / script, os.X_OK)
    folder = re.search(r"^WORKDIR (\S+)", dockerfile, re.M).group(1)
    assert f'ENTRYPOINT ["{folder}/docker/entrypoint"]' in dockerfile


def test_each_line_of_cuda_that_the_image_offers_is_pinned():
    dockerfile = (ROOT / "Dockerfile").read_text()
    offered = set(re.findall(r"\bCUDA=(\d+)", dockerfile))
    assert offered == {f.stem[-2:] for f in ROOT.glob("requirements-cuda*.txt")} == {"11", "12"}
    for line in offered:
        pinned = pins(f"requirements-cuda{line}.txt")
        assert {f"nvidia-{name}-cu{line}" for name in ("cublas", "cuda-nvrtc", "cudnn")} <= set(
            pinned
        )
        # pygpu's own are the same in both, and agree with what the tests run on.
        assert pinned["mako"] == pins("requirements-cuda12.txt")["mako"]


def _bundle():
    """Packages that the bundle takes, and those that it leaves out."""
    loader = SourceFileLoader("make_bundle", str(ROOT / "scripts/make-bundle"))
    bundle = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(bundle)
    return [{canonicalize_name(n) for n in names} for names in (bundle.PACKAGES, bundle.LEFT_OUT)]


def test_the_bundle_takes_or_names_each_pinned_package():
    taken, left = _bundle()
    assert not taken & left
    named = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.M)
    assert taken | left == {canonicalize_name(name) for name in named}


@pytest.mark.skipif(PYTHON != "3.11", reason="the bundle is of CPython 3.11")
def test_what_the_bundle_takes_needs_nothing_that_it_leaves_out():
    taken, _ = _bundle()
    built_by = {"cython"}
    for name in taken:
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in taken | built_by, f"{name}: {needed.name}"


@pytest.mark.parametrize(
    ("target", "command"),
    [
        (
            "sample",
            "python experiments/mnist_pixelvae.py sample gated-pixelvae-noup --out samples.png",
        ),
        ("train", "python experiments/mnist_pixelvae.py train --preset quick --data auto --out"),
        ("test", "python -m pytest -n logical"),
        ("coverage", "--dist loadfile --cov"),
        ("coverage", "scripts/check-coverage"),
        ("fuzz", "python tests/fuzzing.py"),
        ("bench", "python -m benchmarks"),
        ("lint", "python -m ruff check ."),
        ("mpi", "--requirement requirements-mpi.txt"),
        ("docker", "docker build --tag pixelvae ."),
        ("bundle", "python scripts/make-bundle"),
    ],
)
def test_make_runs(target, command):
    plan = subprocess.run(
        ["make", "--dry-run", "--what-if=requirements-mpi.txt", target],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert command in plan.stdout


@pytest.fixture
def machine(tmp_path):
    """A PATH of its own, without Python and compiler, to which a test adds programs."""

    class Machine:
        folder = tmp_path / "bin"
        clone = tmp_path / "clone"

        def add(self, name: str, script: str) -> Path:
            program = self.folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!{shutil.which('sh')}\n{script}\n")
            program.chmod(0o755)
            return program

        def run(self, script: str, *arguments: str, **variables: str):
            return subprocess.run(
                [str(self.clone / "scripts" / script), *arguments],
                env={"PATH": str(self.folder), "HOME": str(tmp_path), **variables},
                capture_output=True,
                text=True,
            )

    here = Machine()
    shutil.copytree(ROOT / "scripts", here.clone / "scripts")
    shutil.copy(ROOT / "requirements-uv.txt", here.clone)
    for tool in TOOLS:
        here.add(tool, f'exec {shutil.which(tool)} "$@"')
    return here


REAL = f'exec {sys.executable} "$@"'
BASE = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
# Scripts pipe their questions to "python - VERSION"; this one answers as if a part were missing.
LACKING = f"""shift
exec {sys.executable} -c 'import sys, sysconfig; {{}}; exec(sys.stdin.read())' "$@" """


def test_no_python(machine):
    result = machine.run("find-python")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "CPython 3.8 to 3.14 is not to be found; this gets one: "
        "curl -LsSf https://astral.sh/uv/install.sh | sh && uv python install 3.11\n"
    )


# apt that knows these packages, and no others.
APT = """[ "$1" = policy ] || exit
case $2 in
    {}-dev) printf '  Installed: (none)\n  Candidate: 3.0-1\n' ;;
    *) printf '  Installed: (none)\n  Candidate: (none)\n' ;; # as for packages that others only mention
esac"""


def test_an_unsupported_python_is_none(machine):
    machine.add("python3", "exit")
    machine.add("apt-cache", APT.format("python3.10"))
    result = machine.run("find-python")
    assert result.returncode == 1
    assert result.stderr.endswith(
        "; this gets one: apt-get install python3.10-dev python3.10-venv\n"
    )


@pytest.mark.parametrize(
    ("programs", "remedy"),
    [
        # uv was tried by then, and has said why it fails.
        ({"uv": "exit 1", "pyenv": "exit"}, "uv python install 3.11"),
        ({"pyenv": "exit", "conda": "exit 1"}, "pyenv install 3.11"),
        ({"conda": "exit 1"}, "conda create -n python3.11 python=3.11"),
        ({}, "curl -LsSf https://astral.sh/uv/install.sh | sh && uv python install 3.11"),
    ],
)
def test_apt_without_a_python_that_serves_is_not_advised(machine, programs, remedy):
    machine.add("apt-get", "exit")
    machine.add("apt-cache", APT.format("python2.7"))
    for name, script in programs.items():
        machine.add(name, script)
    assert machine.run("find-python").stderr.endswith(f"; this gets one: {remedy}\n")


# A uv that installs this Python, as a link, and otherwise says what it was asked.
UV = f"""case "$1 $2" in
"python install")
    mkdir "$UV_PYTHON_INSTALL_DIR/made-up"
    ln -s {sys.executable} "$UV_PYTHON_INSTALL_DIR/made-up/python" ;;
"python find") [ -z "$UV_PYTHON_INSTALL_DIR" ] || echo "$UV_PYTHON_INSTALL_DIR/made-up/python" ;;
esac
echo "$*" >&2"""


def test_where_no_python_serves_uv_fetches_one_into_the_clone(machine):
    machine.add("mkdir", f'exec {shutil.which("mkdir")} -p "$@"')
    machine.add("ln", f'exec {shutil.which("ln")} "$@"')
    machine.add("uv", UV)
    result = machine.run("find-python")
    assert (result.returncode, result.stdout) == (0, f"{machine.clone}/.python/made-up/python\n")
    assert "python install --no-progress --no-bin 3.11\n" in result.stderr


def test_nothing_is_fetched_where_a_package_completes_a_python(machine):
    machine.add(f"python{PYTHON}", LACKING.format('sys.modules["ensurepip"] = None'))
    machine.add("apt-cache", APT.format(f"python{PYTHON}"))
    machine.add("uv", 'echo "$*" >&2; exit 1')
    result = machine.run("find-python")
    assert result.returncode == 1
    assert result.stderr.endswith(
        f"; this gets one: apt-get install python{PYTHON}-dev python{PYTHON}-venv\n"
    )
    assert "install --no-progress" not in result.stderr


def test_a_python_that_the_user_names_is_not_replaced(machine):
    other = machine.add("../elsewhere/python", "exit")
    machine.add("uv", 'echo "$*" >&2; exit 1')
    result = machine.run("find-python", PYTHON=str(other))
    assert result.returncode == 1
    assert (
        result.stderr
        == f"{other} is not CPython 3.8 to 3.14; this gets one: uv python install 3.11\n"
    )


@pytest.mark.skipif(PYTHON != "3.11", reason="uv is asked for CPython 3.11, and given this Python")
def test_uv_of_the_package_index_fetches_a_python_and_checks_it(machine, tmp_path):
    """From an index of downloads of our own: an archive of this Python, then one that was tampered with."""
    for tool in ("ls", "uname", "ldd", "mkdir", "env"):
        machine.add(tool, f'exec {shutil.which(tool)} "$@"')
    machine.add("python3", REAL)
    archive = tmp_path / "python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for part in _parts_of_this_python():
            tar.add(Path(sys.base_prefix, part), f"python/{part}", filter=_without_tests)
    number = dict(zip(("major", "minor", "patch"), sys.version_info))
    download = {
        "name": "cpython", "arch": {"family": platform.machine(), "variant": None}, "os": "linux", "libc": "gnu",
        **number, "prerelease": "", "url": archive.as_uri(), "variant": None,
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }  # fmt: skip
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"made-up": download}))

    def fetch():
        return machine.run("get-python", UV_PYTHON_DOWNLOADS_JSON_URL=str(index))

    result = fetch()
    if "uv==" in result.stderr:
        pytest.skip("the package index cannot be reached")
    assert result.returncode == 0, result.stderr
    python = Path(result.stdout.strip())
    assert machine.clone / ".python" in python.parents
    subprocess.run([python, "-c", "import ctypes, json"], check=True)
    shutil.rmtree(python.resolve().parents[1])
    index.write_text(json.dumps({"made-up": {**download, "sha256": "0" * 64}}))
    result = fetch()
    assert result.returncode != 0
    assert "Hash mismatch" in result.stderr


def test_where_no_fresh_system_can_be_made_that_is_no_failure(machine):
    """.ci/run goes on after status 77."""
    assert machine.run("try-on", "trixie").stderr == (
        "no fresh system can be tried here: debootstrap is missing; this gets it: apt-get install debootstrap\n"
    )
    machine.add("debootstrap", "exit 1")
    machine.add("id", "echo 1000")
    result = machine.run("try-on", "trixie")
    assert result.returncode == 77
    assert result.stderr == "no fresh system can be tried here: debootstrap and chroot need root\n"


def _parts_of_this_python() -> list[str]:
    """What makes up this Python, below its prefix, without packages and without its own tests."""
    version = f"python{PYTHON}"
    library = Path(sys.base_prefix, "lib")
    return [
        f"bin/{version}",
        f"include/{version}",
        f"lib/{version}",
        *(f"lib/{f.name}" for f in library.glob("libpython*.so*")),
    ]


def _without_tests(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = ("/site-packages", "/dist-packages", "/test", "/idlelib", "/__pycache__")
    return None if any(part in entry.name for part in left_out) else entry


def test_a_link_to_a_python_counts_as_what_it_links_to(machine):
    machine.add("python3", "exit").with_name("python").symlink_to(BASE)
    assert machine.run("find-python").stdout == f"{BASE}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('sysconfig.get_path = lambda name: "/nowhere"', "lacks its headers (Python.h)"),
        ('sys.modules["ensurepip"] = None', "lacks the module venv"),
    ],
)
def test_a_python_that_lacks_something(machine, change, message):
    machine.add(f"python{PYTHON}", LACKING.format(change))
    machine.add("apt-cache", APT.format("python3.11"))
    result = machine.run("find-python")
    assert result.returncode == 1
    assert message in result.stderr
    assert "apt-get install python3.11-dev python3.11-venv" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_whole_python_is_preferred_to_one_that_lacks_something(machine):
    machine.add("python3", LACKING.format('sysconfig.get_path = lambda name: "/nowhere"'))
    machine.add("python", REAL)
    result = machine.run("find-python")
    assert (result.returncode, result.stdout) == (0, f"{BASE}\n")


def test_python_on_path_is_the_one_under_an_active_environment(machine):
    machine.add(f"python{PYTHON}", REAL)
    assert machine.run("find-python").stdout == f"{BASE}\n"


def test_python_of_pyenv(machine):
    root = machine.folder.parent / "a root"
    machine.add(f"{root}/versions/{PYTHON}.1/bin/python", REAL)
    machine.add("pyenv", f'[ "$1" = root ] && echo "{root}"')
    assert machine.run("find-python").stdout == f"{BASE}\n"


def test_python_of_uv(machine):
    python = machine.add("../elsewhere/python", REAL)
    machine.add("uv", f'[ "$1 $2 $4" = "python find {PYTHON}" ] && echo "{python}"')
    assert machine.run("find-python").stdout == f"{BASE}\n"


def test_python_of_conda(machine):
    root = machine.folder.parent / "conda"
    machine.add(f"{root}/envs/some/bin/python", REAL)
    machine.add("conda", f'[ "$1 $2" = "info --base" ] && echo "{root}"')
    assert machine.run("find-python").stdout == f"{BASE}\n"


def test_python_named_by_the_user(machine):
    python = machine.add("../elsewhere/python", REAL)
    assert machine.run("find-python", PYTHON=str(python)).stdout == f"{BASE}\n"


def test_no_compiler(machine):
    machine.add(f"python{PYTHON}", REAL)
    machine.add("apt-get", "exit")
    result = machine.run("build-venv", str(machine.folder.parent / "venv"), "requirements.txt")
    assert result.returncode == 1
    assert result.stderr == (
        "A C++ compiler (g++) is missing; this gets one: apt-get install g++\n"
    )


def test_a_build_that_fails_is_not_ready(machine, tmp_path):
    machine.add(f"python{PYTHON}", REAL)
    machine.add("g++", "exit")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("wheel==0.0.0\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    result = machine.run("build-venv", str(tmp_path / "venv"), str(requirements), **offline)
    assert result.returncode != 0
    assert "wheel==0.0.0" in result.stderr
    assert not (tmp_path / "venv/ready").exists()


def test_the_version_is_the_same_everywhere():
    from pixelvae.machine.version import VERSION

    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.M).group(1)
    assert changes[0] == cited == VERSION


def test_the_pictures_of_the_readme_are_there_and_small():
    pictures = re.findall(r'<img src="([^"]+)"', (ROOT / "README.md").read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 200_000


def test_each_target_of_make_is_listed_by_help():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)", makefile, re.M).group(1).split()
    assert phony == re.findall(r"^([a-z-]+):.*## ", makefile, re.M)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_a_clone_that_converts_line_ends_leaves_ours_alone(tmp_path):
    for setting in ("true", "input", "false"):
        clone = tmp_path / setting
        subprocess.run(
            [
                "git",
                "-c",
                f"core.autocrlf={setting}",
                "clone",
                "-q",
                "--depth=1",
                f"file://{ROOT}",
                clone,
            ],
            check=True,
        )
        for script in filter(Path.is_file, (ROOT / "scripts").iterdir()):
            assert b"\r" not in (clone / "scripts" / script.name).read_bytes()
