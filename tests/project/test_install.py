"""The package as pip installs it: one name beside everybody else's, with all that it needs to run."""

from __future__ import annotations

import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from fresh_process import run, unmeasured
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pins import pins

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # What a build leaves behind stays out of the clone.
    source = folder / "source"
    subprocess.run(["git", "clone", "--quiet", ROOT, source], check=True)
    # Unmeasured, for in the build's folder coverage would take the copies for the code.
    built = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--wheel-dir", folder, source],
        capture_output=True, text=True, env=unmeasured(),
    )  # fmt: skip
    if "setuptools>=" in built.stderr and "No matching distribution" in built.stderr:
        pytest.skip("the package index cannot be reached for setuptools")
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder, wheel], check=True)
    return folder


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_nothing_but_pixelvae_lands_in_site_packages(wheel):
    tops = {name.partition("/")[0].partition("-")[0] for name in names(wheel)}
    assert tops == {"pixelvae"}


@pytest.mark.parametrize("package", ["machine", "lib", "models", "datasets", "experiments"])
def test_every_module_and_every_file_beside_is_installed(wheel, package):
    listed = subprocess.run(
        ["git", "ls-files", package], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    assert len(listed) > 10
    assert {f"pixelvae/{name}" for name in listed} <= names(wheel)


def test_weights_are_installed(wheel):
    weights = {f"pixelvae/pretrained/{file.name}" for file in ROOT.glob("pretrained/*.npz")}
    assert weights and weights <= names(wheel)


def test_ranges_hold_what_the_tests_run_on(wheel):
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        needed = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    pinned = pins("requirements.txt")
    for requirement in map(Requirement, needed):
        if requirement.marker is None or requirement.marker.evaluate({"extra": "theano"}):
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_it_runs_from_an_empty_folder(site, tmp_path):
    code = (
        "import pixelvae; print(pixelvae.__file__); from pixelvae.datasets.places import source_folder;"
        "print(source_folder('mnist')); print(type(pixelvae.load('conv-vae')).__name__)"
    )
    result = run("-c", code, cwd=tmp_path, PYTHONPATH=str(site), PIXELVAE_DATA=None)
    assert result.returncode == 0, result.stderr
    file, data, model = result.stdout.splitlines()
    assert Path(file) == site / "pixelvae/__init__.py"
    assert (data, model) == ("data/mnist", "PixelVAE")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "mnist-256, lsun-bedrooms, imagenet64, photographs"),
        (["photographs", "sample", "--help"], 0, "usage: pixelvae photographs sample"),
        (["mnits", "train"], 2, "mnist"),
        ([], 2, "EXPERIMENT"),
    ],
)
def test_the_command_has_all_experiments(site, tmp_path, words, status, said):
    result = run("-m", "pixelvae", *words, cwd=tmp_path, PYTHONPATH=str(site))
    assert result.returncode == status
    assert said in result.stdout + result.stderr
    assert status == 0 or result.stderr.count("\n") == 1
