"""What a process changes in its environment is taken back by its children, and by nobody else."""

from __future__ import annotations

import os
import subprocess

import pytest

from pixelvae.machine.backend import environment


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GIVEN": "the user's", "FLAGS": "a=1"})


def variables():
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def test_what_the_user_gave_comes_back():
    environment.change("GIVEN", "ours")
    environment.change("GIVEN", None)  # the second change counts from the same beginning
    environment.change("NEW", "ours")
    assert os.environ.get("GIVEN") is None and os.environ["NEW"] == "ours"
    environment.take_back()
    assert variables() == {"GIVEN": "the user's", "FLAGS": "a=1"}


@pytest.mark.parametrize(
    "now, after", [("a=1,b=2", "a=1"), ("a=1,b=2,c=3", "a=1,c=3"), ("d=4", "d=4")]
)
def test_what_was_set_or_appended_for_a_child_stays(now, after):
    environment.change("FLAGS", "a=1,b=2")
    os.environ["FLAGS"] = now
    environment.take_back()
    assert os.environ["FLAGS"] == after


def test_flags_that_the_user_did_not_give_leave_nothing():
    environment.change("EMPTY", "b=2")
    os.environ["EMPTY"] += ",c=3"
    environment.take_back()
    assert os.environ["EMPTY"] == "c=3"


def test_an_error_undoes_what_was_changed():
    environment.change("NEW", "ours")
    before = variables()
    with pytest.raises(KeyError), environment.undone_on_error():
        environment.add_to_path("PATHS", "/a", "/b")
        environment.change("GIVEN", "ours")
        raise KeyError
    assert variables() == before


def test_folders_come_in_front_once():
    os.environ["PATHS"] = "/b:/c"
    environment.add_to_path("PATHS", "/a", "/b")
    assert os.environ["PATHS"] == "/a:/b:/c"


def test_cpp_still_finds_the_headers_of_c(tmp_path):
    """Where Debian's packages put libgpuarray's, CUDA's or cuDNN's headers among the system's."""
    os.environ["PATH"] = os.defpath
    environment.add_headers("/usr/include", tmp_path)
    assert os.environ["CPLUS_INCLUDE_PATH"] == str(tmp_path)
    command = ["g++", "-E", "-x", "c++", "-", "-o", os.devnull]
    assert subprocess.run(command, input=b"#include <cstdlib>", env=os.environ).returncode == 0


def test_a_note_that_is_not_ours_is_ignored():
    os.environ[environment.NOTE] = "nonsense"
    environment.take_back()
    assert variables() == {"GIVEN": "the user's", "FLAGS": "a=1"}
