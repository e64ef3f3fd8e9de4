"""Files of arrays: whole or not there, and never trusted."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import fresh_process
import numpy as np
import pytest
import stopped_writes
from hypothesis import given, settings
from hypothesis import strategies as st
from stopped_writes import HEADER, NEW, OLD, in_child, same

from pixelvae.machine.errors import UserError
from pixelvae.machine.files import atomic
from pixelvae.machine.files.arrays import MAX_HEADER_BYTES, load_arrays, save_arrays


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_arrays(path, OLD, HEADER)
    return path


def test_round_trip_keeps_values_types_and_layout(tmp_path):
    arrays = {
        "float32": np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
        "float64": np.linspace(0, 1, 6).reshape(1, 2, 3),
        "int64": np.array(-(2**63)),
        "bool": np.array([True, False]),
        "uint32": np.arange(624, dtype=np.uint32),
        "empty": np.zeros((0, 5), np.float32),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    header = {"kind": "weights", "name": "π", "best": float("inf"), "numpy": np.float32(0.5)}
    path = tmp_path / "best.npz"
    save_arrays(path, arrays, header)
    loaded, read = load_arrays(path, kind="weights")
    assert read == {**header, "best": None, "numpy": 0.5, "format": 1}  # JSON has no infinity
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype and loaded[name].strides == array.strides
        assert loaded[name].flags.writeable


def test_numpy_reads_the_file_without_pickle(saved):
    with np.load(saved, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["w"], OLD["w"])
        header = json.loads(bytes(file["header"]))
    assert header == {**HEADER, "format": 1, "arrays": ["w", "adam.step"]}


def test_equal_contents_give_equal_files(saved, tmp_path):
    save_arrays(tmp_path / "again.npz", OLD, HEADER)
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_big_endian_numbers_are_read_as_native(tmp_path):
    save_arrays(tmp_path / "a.npz", {"w": OLD["w"].astype(">f4")}, HEADER)
    loaded = load_arrays(tmp_path / "a.npz")[0]["w"]
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, OLD["w"])


@pytest.mark.parametrize(
    ("arrays", "header"),
    [
        ({"w": np.array([None])}, HEADER),
        ({"w": np.array(["text"])}, HEADER),
        ({"../w": np.zeros(1)}, HEADER),
        ({"header": np.zeros(1)}, HEADER),
        ({}, {"kind": "something"}),
        ({}, {**HEADER, "long": "x" * MAX_HEADER_BYTES}),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(saved, arrays, header):
    with pytest.raises(ValueError):
        save_arrays(saved, arrays, header)
    assert same(load_arrays(saved)[0], OLD)


@pytest.mark.parametrize("how", ["fails", "killed"])
def test_writing_stopped_at_each_byte_leaves_the_old_file(saved, how):
    size = saved.stat().st_size
    script = str(Path(stopped_writes.__file__))
    result = fresh_process.run(script, str(saved), how, PYTHONPATH=str(fresh_process.ROOT))
    assert (result.returncode, result.stdout) == (0, f"{size}\n"), result.stderr


@pytest.mark.parametrize("fault", ["raise", "exit"])
@pytest.mark.parametrize(
    ("step", "call", "expected"),
    [("fsync", 1, OLD), ("replace", 1, OLD), ("fsync", 2, NEW)],
    ids=["fsync of the file", "rename", "fsync of the folder"],
)
def test_a_fault_at_each_step_leaves_a_whole_file(saved, monkeypatch, step, call, expected, fault):
    calls = []
    original = getattr(os, step)

    def faulty(*arguments):
        calls.append(arguments)
        if len(calls) < call:
            return original(*arguments)
        if fault == "exit":
            os._exit(3)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, step, faulty)
        status = in_child(lambda: save_arrays(saved, NEW, HEADER))
    assert os.WEXITSTATUS(status) == (3 if fault == "exit" else 2)
    assert same(load_arrays(saved)[0], expected)
    save_arrays(saved, NEW, HEADER)
    assert os.listdir(saved.parent) == [saved.name]


def test_the_error_says_what_failed_and_what_to_do(saved, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match="cannot write .*No space left on device; free some space"):
        save_arrays(saved, NEW, HEADER)


def test_no_folder_no_ordinary_file_no_save(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        save_arrays(tmp_path / "gone" / "a.npz", OLD, HEADER)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is where a folder should be"):
        save_arrays(tmp_path / "file" / "a.npz", OLD, HEADER)
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path):
        with pytest.raises(UserError, match="not an ordinary file"):
            save_arrays(path, OLD, HEADER)


def test_a_long_leftover_does_not_show_through(saved):
    expected = saved.read_bytes()
    saved.with_name(".checkpoint.npz.tmp").write_bytes(b"x" * 10_000)
    save_arrays(saved, OLD, HEADER)
    assert saved.read_bytes() == expected and os.listdir(saved.parent) == [saved.name]


def test_a_symbolic_link_stays_one(saved, tmp_path):
    link = tmp_path / "link.npz"
    link.symlink_to(saved)
    save_arrays(link, NEW, HEADER)
    assert link.is_symlink() and same(load_arrays(saved)[0], NEW)


def test_writers_of_one_file_do_not_mix(saved):
    """Two processes that save at the same time: each load sees the one or the other, whole."""
    big = {name: {"w": np.full(200_000, value)} for name, value in (("a", 1.0), ("b", 2.0))}
    save_arrays(saved, big["a"], HEADER)
    children = []
    for name in big:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for _ in range(15):
                    save_arrays(saved, big[name], HEADER)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    statuses = []
    while children:
        loaded = load_arrays(saved)[0]
        assert same(loaded, big["a"]) or same(loaded, big["b"])
        pid, status = os.waitpid(children[0], os.WNOHANG)
        if pid:
            statuses.append(status)
            children.pop(0)
    assert statuses == [0, 0]


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in range(0, len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(
            UserError, match=r"^cannot read .*: it is (empty|truncated|not an .npz)"
        ):
            load_arrays(saved)


def test_every_flipped_bit_is_refused_or_harmless(saved):
    content = saved.read_bytes()
    refused = 0
    for position in range(len(content)):
        for bit in (1 << position % 8, 1 << (position + 3) % 8):
            damaged = bytearray(content)
            damaged[position] ^= bit
            saved.write_bytes(damaged)
            try:
                arrays, header = load_arrays(saved)
            except UserError:
                refused += 1
            else:  # bytes that mean nothing, such as dates
                assert same(arrays, OLD) and header == {**HEADER, "format": 1}
    assert refused > len(content)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutations_end_in_a_user_error_or_the_truth(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutated.npz"
    save_arrays(path, OLD, HEADER)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.integers(0, 40))
        content[start:stop] = data.draw(st.binary(max_size=40))
    path.write_bytes(content)
    try:
        arrays, header = load_arrays(path)
    except UserError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert same(arrays, OLD) and header["iteration"] == 3


def npy(array, allow_pickle=False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_claiming(shape, descr="<f4") -> bytes:
    buffer = io.BytesIO()
    claim = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, claim)
    return buffer.getvalue()


def header_npy(header) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return npy(np.frombuffer(text, np.uint8))


GOOD_HEADER = ("header.npy", header_npy({"format": 1, "kind": "weights", "arrays": ["w"]}))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("w.npy", npy(np.zeros(2)))], "no header"),
        ([("header.npy", header_npy({"format": 2, "kind": "weights"}))], "format is 2"),
        ([("header.npy", header_npy({"format": 1, "kind": "soup"}))], "names no kind"),
        ([("header.npy", header_npy([1]))], "names no kind"),
        ([("header.npy", header_npy(b"{"))], "damaged"),
        ([("header.npy", header_npy(b"\xff"))], "damaged"),
        ([("header.npy", header_npy(b"[" * 100_000))], "damaged"),
        ([("header.npy", npy(np.zeros(3)))], "header is not text"),
        ([("header.npy", npy(np.zeros(MAX_HEADER_BYTES + 5000, np.uint8)))], "header is too large"),
        ([GOOD_HEADER], "arrays are not those"),
        ([GOOD_HEADER, ("v.npy", npy(0.0))], "arrays are not those"),
        ([("header.npy", header_npy({"format": 1, "kind": "weights"}))], "damaged"),
        ([GOOD_HEADER, ("w.npy", npy([None], allow_pickle=True))], "never unpickled"),
        ([GOOD_HEADER, ("w.npy", npy(["text"]))], "not plain numbers"),
        ([GOOD_HEADER, ("w.npy", npy(np.zeros(1, [("a", "f4")])))], "not plain numbers"),
        ([GOOD_HEADER, ("w.npy", npy(np.zeros(1, complex)))], "not plain numbers"),
        ([GOOD_HEADER, ("w.npy", npy_claiming((10**12,)) + b"0000")], "do not make an array"),
        ([GOOD_HEADER, ("w.npy", npy_claiming((-1,)))], "do not make an array"),
        ([GOOD_HEADER, ("w.npy", npy_claiming((0, 10**30)))], "damaged"),
        ([GOOD_HEADER, ("w.npy", npy_claiming((1,) * 70) + b"0000")], "damaged"),
        ([GOOD_HEADER, ("w.npy", npy_claiming((), "O"))], "never unpickled"),
        ([GOOD_HEADER, ("w.npy", b"\x93NUMPY\x02\x00" + b"\xff" * 100)], "another version"),
        ([GOOD_HEADER, ("../w.npy", npy(0.0))], "not an array"),
        ([GOOD_HEADER, ("/etc/w.npy", npy(0.0))], "not an array"),
        ([GOOD_HEADER, (".w.npy", npy(0.0))], "not an array"),
        ([GOOD_HEADER, ("w.txt", b"text")], "not an array"),
        ([GOOD_HEADER, ("w.npy", npy(0.0)), ("w.npy", npy(1.0))], "two members"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_broken_and_hostile_members_are_refused(tmp_path, members, reason):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(UserError, match=reason):
        load_arrays(path)


def test_nothing_is_unpickled(tmp_path):
    witness = tmp_path / "witness"

    class Exploit:
        def __reduce__(self):
            return (os.mkdir, (str(witness),))

    exploit = np.empty(1, object)
    exploit[0] = Exploit()
    path = tmp_path / "weights.npz"
    np.savez(path, header=np.frombuffer(b'{"format":1,"kind":"weights"}', np.uint8), w=exploit)
    with pytest.raises(UserError, match="never unpickled"):
        load_arrays(path)
    path.write_bytes(pickle.dumps(exploit))
    with pytest.raises(UserError, match="not an .npz"):
        load_arrays(path)
    assert not witness.exists()


def test_a_bomb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, w=np.zeros(25_000_000, np.float32))
    tracemalloc.start()
    with pytest.raises(UserError, match="compressed"):
        load_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_members_that_overlap_are_refused(tmp_path):
    """A directory with a thousand entries, all of which point to the same large member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(10_000)))
        members = archive.filelist
        for number in range(1000):
            double = zipfile.ZipInfo(f"b{number}.npy")
            for name in ("header_offset", "CRC", "file_size", "compress_size", "external_attr"):
                setattr(double, name, getattr(members[0], name))
            archive.filelist.append(double)
            archive.NameToInfo[double.filename] = double
    path = tmp_path / "weights.npz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="larger than the file"):
        load_arrays(path)


def test_encrypted_and_lying_sizes_are_refused(saved):
    content = saved.read_bytes()
    entry = content.index(b"PK\x01\x02")
    encrypted = bytearray(content)
    encrypted[entry + 8] |= 1
    lying = bytearray(content)
    lying[entry + 24 : entry + 28] = struct.pack("<L", 1 << 31)
    for damaged, reason in ((encrypted, "encrypted"), (lying, "disagree")):
        saved.write_bytes(damaged)
        with pytest.raises(UserError, match=reason):
            load_arrays(saved)


def test_the_kind_must_be_the_one_asked_for(saved):
    load_arrays(saved, kind="checkpoint")
    with pytest.raises(UserError, match="it holds a checkpoint, not weights"):
        load_arrays(saved, kind="weights")


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("hello")
    for name, reason in [
        ("missing.npz", "No such file"),
        ("pipe.npz", "not an ordinary file"),
        (".", "not an ordinary file"),
        ("/dev/zero", "not an ordinary file"),
        ("empty.npz", "is empty"),
        ("text.npz", "not an .npz file"),
    ]:
        with pytest.raises(UserError, match=f"^cannot read .*{reason}"):
            load_arrays(tmp_path / name)
