"""What Theano, Fuel, OpenMP and the compiler read from outside, bad in every way met: it works, or one line."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from fresh_process import output, refusal, run

IMPORT = "import pixelvae.lib, theano"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("a='b", "the environment variable THEANO_FLAGS has an open quote: a='b"),
        ("device=gpu0", "device must be cpu, cuda, or one of cuda0, cuda1, ..., not gpu0"),
        ("mode=NOPE", "theano cannot be imported with these settings: Expected one of those string 'Mode'"),
        ("optimizer=nope", 'Invalid value ("nope") for configuration variable "optimizer"'),
        ("floatX=float16", "floatX must be float32 or float64, not float16"),
        ("cxx=nonexistent", "the C++ compiler cxx=nonexistent of Theano's flags is not there"),
        ("cxx=/bin/true", "/bin/true is not a C++ compiler"),
        ("cxx=/bin/false", "/bin/false fails (status 1): without a message"),
        ("gcc.cxxflags=-fopenmp", "openmp=True stands for it"),
        ("gcc.cxxflags=-fnope", "does not know a flag of Theano's gcc.cxxflags"),
        ("blas.ldflags=-L/nope -lnope", "the library nope cannot be linked: leave it out"),
        ("blas.ldflags=openblas", "must be flags like -lopenblas, not 'openblas'"),
        ("base_compiledir=/proc/nope", "nothing can be compiled in /proc/nope: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_flags_of_theano_end_in_one_line(flags, message):
    assert message in refusal(IMPORT, THEANO_FLAGS=flags)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PIXELVAE_THREADS", "0"),
        ("PIXELVAE_THREADS", "9" * 5000),
        ("PIXELVAE_THREADS", "1000000"),
        ("OMP_NUM_THREADS", "many"),
        ("OPENBLAS_NUM_THREADS", "-1"),
        ("PIXELVAE_NATIVE", "yes"),
        ("PIXELVAE_TF32", "maybe"),
    ],
)
def test_bad_variables_are_named(variable, value):
    assert variable in refusal(IMPORT, **{variable: value})


@pytest.mark.parametrize("content", [b"[global\n", b"a = b\n", "[global]\nä = ö".encode("latin-1"),
                                     b"\xef\xbb\xbfmode\n", b"[global]\ncxx = 100%\n"])  # fmt: skip
def test_theanos_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "theanorc"
    path.write_bytes(content)
    assert str(path) in refusal(IMPORT, THEANORC=str(path))


def test_files_that_are_not_there_and_settings_of_other_versions_change_nothing(tmp_path):
    path = tmp_path / "theanorc"
    path.write_text("[global]\nof_another_year = 1\n[nvcc]\nfastmath = True\n")
    for theanorc in (str(path), str(tmp_path), "/nowhere/theanorc"):
        assert output("import pixelvae.lib; print(1)", THEANORC=theanorc) == "1"
    assert output(IMPORT + "; print(1)", THEANORC=str(path)) == "1"


FUEL = (
    "import pixelvae.lib, os, fuel; from pixelvae.datasets.places import converted_folder; "
    "print(os.environ.get('FUEL_DATA_PATH'), converted_folder(), fuel.config.default_seed)"
)


@pytest.mark.parametrize(
    ("content", "folder", "seed"),
    [
        ("", None, 1),
        ("data_path: /data/here\nof_another_version: 3\n", "/data/here", 1),
        ("data_path: [/data/here, /there]\ndefault_seed: 5\n", "/data/here", 5),
    ],
)
def test_fuels_file_is_read_without_what_fuel_does_not_know(tmp_path, content, folder, seed):
    (tmp_path / ".fuelrc").write_text(content)
    words = output(FUEL, HOME=str(tmp_path), THEANO_FLAGS=f"base_compiledir={_compiled()}").split()
    assert words[-1] == str(seed)
    if folder:
        assert words[-2] == folder
    else:
        assert words[0] == "None"


def test_the_variable_comes_before_fuels_file(tmp_path):
    (tmp_path / "fuelrc").write_text("data_path: /data/here\n")
    words = output(FUEL, FUEL_CONFIG=str(tmp_path / "fuelrc"), FUEL_DATA_PATH="/there").split()
    assert words[:2] == ["/there", "/there"]


@pytest.mark.parametrize("content", [b"data_path: [", b"just words", b"- a\n- b\n", b"a: \xff\xfe\n",
                                     b"data_path: 5\n"])  # fmt: skip
def test_fuels_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "fuelrc"
    path.write_bytes(content)
    assert str(path) in refusal("import pixelvae.lib", FUEL_CONFIG=str(path))


def _compiled() -> str:
    """The folder with this process's compiled code, which a process with another home may use as well."""
    import theano

    return theano.config.base_compiledir


COMPUTE = (
    "import pixelvae.lib, theano, theano.tensor as T; x = T.fmatrix(); "
    "print(theano.function([x], T.exp(x).sum())([[0, 0]]), theano.config.compiledir)"
)


@pytest.mark.parametrize("name", ["a,b", "a=b", "a'b", "a, b:c=d'e\"f%g #h"])
def test_homes_and_temporary_folders_with_signs_that_settings_split_at(tmp_path, name):
    home = tmp_path / name
    (home / "100% tmp").mkdir(parents=True)
    shown = output(COMPUTE, HOME=str(home), TMPDIR=str(home / "100% tmp"), USER=None)
    assert shown.startswith(f"2.0 {home}/.theano/compiledir_")


@pytest.mark.parametrize("home", [None, "/dev/null", "~"])
def test_users_without_a_name_or_a_home(tmp_path, home):
    """As in containers that run under a number, and on nodes where the home is not mounted."""
    nobody = (
        "import pwd\ndef none(*arguments):\n    raise KeyError\npwd.getpwuid = pwd.getpwnam = none\n"
        "import pixelvae.lib; from pixelvae.machine.backend import flags; print(flags.base_compiledir())\n"
        + ("import theano" if home is None else "")
    )
    environment = dict(HOME=home, USER=None, LOGNAME=None, TMPDIR=str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r})\n" + nobody
    shown = output(code, cwd=tmp_path / "here", **environment)
    assert shown == f"{tmp_path}/tmp/theano-{os.getuid()}"
    assert os.listdir(tmp_path / "here") == []  # no folder named "~"


@pytest.mark.parametrize(
    ("variables", "threads"),
    [
        (dict(OMP_NUM_THREADS="4,2"), 4),
        (dict(OMP_NUM_THREADS=" 3 ", OMP_PROC_BIND="close", GOMP_CPU_AFFINITY="0"), 3),
        (dict(OMP_NUM_THREADS="", SLURM_CPUS_PER_TASK="1"), 1),
        (dict(NSLOTS="1", MKL_NUM_THREADS="nonsense", MKL_THREADING_LAYER="GNU"), 1),
        (dict(SLURM_CPUS_PER_TASK="undefined", PIXELVAE_THREADS="2"), 2),
        (dict(SLURM_CPUS_PER_TASK="1", OMP_NUM_THREADS="2"), 2),
    ],
)
def test_what_batch_systems_say_of_threads(variables, threads):
    code = "import os, pixelvae.lib; print(os.environ['OMP_NUM_THREADS'])"
    assert int(output(code, **variables)) == threads


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of some MiB, with these options."""
    mounted = []

    def mount(options):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.getuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)])


@pytest.mark.parametrize("options", ["size=4m,noexec", "size=32k", "size=4m,ro"])
def test_where_a_home_does_not_do_a_temporary_folder_does(small_disk, tmp_path, options):
    home = small_disk(options)
    (tmp_path / "tmp").mkdir()
    code = "import pixelvae.lib; from pixelvae.machine.backend import flags; print(flags.base_compiledir())"
    shown = output(code, HOME=str(home), TMPDIR=str(tmp_path / "tmp"))
    assert shown == f"{tmp_path}/tmp/theano-{os.getuid()}"


def test_where_the_named_folder_does_not_do_it_is_said(small_disk):
    for options, said in (("size=4m,noexec", "Permission denied"), ("size=4m,ro", "Read-only")):
        folder = small_disk(options)
        line = refusal(IMPORT, THEANO_FLAGS=f"base_compiledir={folder}")
        assert str(folder) in line and said in line


@pytest.mark.parametrize(
    "variables",
    [
        dict(THEANO_FLAGS="a='b"),
        dict(THEANO_FLAGS="mode=NOPE"),
        dict(THEANO_FLAGS="cxx=/bin/false"),
        dict(PATH="/nowhere", PYTHONIOENCODING="ascii"),
        dict(FUEL_CONFIG="Makefile"),
    ],
)
def test_the_report_says_what_is_wrong_and_all_the_rest(variables):
    result = run("-m", "pixelvae.machine", **variables)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert all(
        any(line.startswith(name) for line in lines) for name in ("python", "system", "numpy")
    )
    (name,) = set(variables) - {"PYTHONIOENCODING"}
    reason = {"THEANO_FLAGS": "these settings|open quote|/bin/false", "PATH": "C\\+\\+ compiler",
              "FUEL_CONFIG": "Makefile"}[name]  # fmt: skip
    assert re.search(reason, result.stdout)
