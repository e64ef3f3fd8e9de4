"""Downloads against a server of our own that breaks off, refuses, or serves something else."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import threading
import time
from functools import partial

import numpy as np
import pytest
import requests

from pixelvae.datasets import named_recipe, open_dataset
from pixelvae.datasets.binarized_mnist import amat_problem
from pixelvae.datasets.download import Unavailable, download
from pixelvae.datasets.sources import SourceFile

PIXELS = np.random.RandomState(0).randint(2, size=(200, 784))
CONTENT = "".join(" ".join(map(str, row)) + "\n" for row in PIXELS).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        body, status, start = server.content, 200, 0
        if self.path != "/own_train.amat" and self.path != "/own_train.amat.gz":
            body, status = b"not here", 404
        elif self.headers.get("Range") and server.ranges:
            start, status = int(self.headers["Range"][len("bytes=") : -1]), 206
            if start >= len(body):
                body, status, start = b"", 416, 0
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : server.break_after])
        if server.break_after is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.content, server.ranges, server.break_after = [], CONTENT, True, None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def source_file(*urls):
    return SourceFile(
        name="binarized_mnist_train.amat",
        pattern="own_train.amat",
        problem=partial(amat_problem, lines=200),
        size=len(CONTENT),
        md5=hashlib.md5(CONTENT).hexdigest(),
        urls=urls,
    )


def fetch(tmp_path, *urls):
    return download(source_file(*urls), tmp_path / "downloads", tmp_path / "sources")


def test_download(server, tmp_path, capsys):
    path = fetch(tmp_path, server.url + "/own_train.amat")
    assert path == tmp_path / "downloads" / "own_train.amat" and path.read_bytes() == CONTENT
    assert list((tmp_path / "downloads" / "partial").iterdir()) == []
    assert f"downloading {server.url}/own_train.amat" in capsys.readouterr().err
    assert fetch(tmp_path, server.url + "/own_train.amat") == path  # without asking again
    assert server.requests == [None]


def test_gzipped_download(server, tmp_path):
    server.content = gzip.compress(CONTENT)
    path = fetch(tmp_path, server.url + "/own_train.amat.gz")
    assert gzip.decompress(path.read_bytes()) == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server, tmp_path, ranges):
    server.ranges, server.break_after = ranges, 100_000
    with pytest.raises(Unavailable, match="broke off after 65 kB, which are kept"):
        fetch(tmp_path, server.url + "/own_train.amat")
    assert not (tmp_path / "downloads" / "own_train.amat").exists()
    server.break_after = None
    assert fetch(tmp_path, server.url + "/own_train.amat").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=65536-"]


def test_whole_but_not_yet_accepted(server, tmp_path):
    """Killed between the last byte and the check: the server has nothing more to send."""
    partial_folder = tmp_path / "downloads" / "partial"
    partial_folder.mkdir(parents=True)
    (partial_folder / "own_train.amat").write_bytes(CONTENT)
    assert fetch(tmp_path, server.url + "/own_train.amat").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", CONTENT[:-1568], CONTENT[::-1]])
def test_something_else_is_not_kept(server, tmp_path, content):
    server.content = content
    with pytest.raises(Unavailable, match="gave something else .*own_train.amat"):
        fetch(tmp_path, server.url + "/own_train.amat")
    assert [p.name for p in (tmp_path / "downloads").rglob("*")] == ["partial"]


def test_the_next_address_is_tried(server, tmp_path):
    urls = ("http://127.0.0.1:9/own_train.amat", server.url + "/x", server.url + "/own_train.amat")
    assert fetch(tmp_path, *urls).read_bytes() == CONTENT


def test_no_network(tmp_path):
    start = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        fetch(tmp_path, "http://127.0.0.1:9/a", "http://name.invalid/b")
    assert time.monotonic() - start < 25
    message = str(raised.value)
    assert "\n" not in message and "no connection to http://127.0.0.1:9/a" in message
    assert f"own_train.amat is not in {tmp_path / 'sources'}" in message


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr("pixelvae.datasets.download._ANSWER_S", 0.1)
    monkeypatch.setattr(requests, "get", lambda *a, **k: time.sleep(1))
    with pytest.raises(Unavailable, match="does not answer"):
        fetch(tmp_path, "http://127.0.0.1:9/a")


def test_the_first_opening_downloads(server, tmp_path, monkeypatch):
    monkeypatch.setenv("FUEL_DATA_PATH", str(tmp_path / "fuel"))
    monkeypatch.setenv("PIXELVAE_DATA", str(tmp_path))
    real = named_recipe("binarized_mnist")
    url = server.url + "/own_train.amat"
    files = [dataclasses.replace(source_file(url), name=file.name) for file in real.files]
    recipe = dataclasses.replace(real, files=files)
    monkeypatch.setattr("pixelvae.datasets.binarized_mnist.RECIPE", recipe)
    data = open_dataset("auto")
    assert data.name == "binarized_mnist"
    np.testing.assert_array_equal(data.images("valid").reshape(-1, 784), PIXELS)
