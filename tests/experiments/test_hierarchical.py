"""The command lines for larger images: every command on small made-up pictures, every ablation, bad input."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from command_lines import call, error
from PIL import Image

from pixelvae.experiments import imagenet64, lsun_bedrooms, mnist_256
from pixelvae.lib.runs.metrics import read_metrics
from pixelvae.machine.files.arrays import load_arrays
from pixelvae.models.hierarchical.presets import HIERARCHICAL

pytestmark = pytest.mark.usefixtures("fast_compile")

SIDE = 8  # of the pictures: the time goes into drawing them pixel by pixel


@pytest.fixture(autouse=True, scope="module")
def tiny_for_such_pictures():
    """Commands are what is tested here, so a model of half the stages will do."""
    sizes = {"stages": ((8, 1), (8, 1)), "top_stages": ((8, 1), (8, 1)), "latents": (4, 8)}
    sizes.update({"pixel_width": 8, "latent_width": 8, "height": SIDE, "width": SIDE})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HIERARCHICAL.presets, "tiny", HIERARCHICAL.presets["tiny"].changed(sizes))
        yield


def pictures(path, count, *shape):
    """An .npz of pictures: a smooth random surface each."""
    rng, images = np.random.RandomState(0), {}
    for split in ("train", "valid", "test"):
        coarse = rng.randint(0, 256, (count, *shape[:-2], shape[-2] // 4, shape[-1] // 4))
        images[split] = coarse.repeat(4, axis=-2).repeat(4, axis=-1).astype("uint8")
    np.savez(path, **images)
    return path


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data") / "colour.npz", 6, 3, SIDE, SIDE)


def train(data, out, *arguments, experiment=imagenet64, iterations=2):
    settings = ["--batch-size", 3, "--statistics-batches", 2, "--eval-every", 2]
    settings += ["--data", data, "--out", out, "--iterations", iterations]
    return call(experiment, "train", *settings, *arguments)


@pytest.fixture(scope="module")
def run(colour, tmp_path_factory):
    """A finished training of two iterations."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert train(colour, folder, "--preset", "tiny", "--tensorboard") == 0
    return folder


def size(path, columns, rows, side=SIDE):
    """Whether a picture is a grid of so many images, doubled, with lines of two pixels."""
    return Image.open(path).size == tuple(n * (2 * side + 2) + 2 for n in (columns, rows))


def test_a_run_leaves_what_others_read(run):
    rows = read_metrics(run / "metrics.csv")
    assert [(r["iteration"], r["split"]) for r in rows] == [(2, "train"), (2, "valid")]
    for row in rows:
        assert row["bound"] == pytest.approx(row["reconstruction"] + row["kl"])
        assert row["kl"] == pytest.approx(row["kl1"] + row["kl2"])
    assert rows[0]["alpha1"] == pytest.approx(2 / 200)
    assert rows[1]["alpha1"] == rows[1]["alpha2"] == 1
    assert rows[1]["reconstruction"] == pytest.approx(8, abs=0.3)  # bits/dim of an untrained model
    numbers = json.loads((run / "results.json").read_text())["test"]
    assert numbers["unit"] == "bits/dim" and numbers["images"] == 6 and numbers["iteration"] == 2
    nats = numbers["nats/image"]["bound"]["mean"]
    assert numbers["bound"]["mean"] == pytest.approx(nats / (3 * SIDE * SIDE * np.log(2)))
    assert numbers["kl1"]["mean"] > 0 and numbers["kl2"]["mean"] > 0
    assert size(run / "samples.png", 5, 5)
    assert size(run / "reconstructions.png", 6, 6)
    assert size(run / "vary.png", 8, 3)
    page = (run / "report.html").read_text()
    for words in ("<li>top</li><li>middle</li><li>bottom</li>", "KL by level", "KL of z₂ (top)"):
        assert words in page
    assert page.count("<img") == 3
    (events,) = run.glob("events.*")
    assert events.read_bytes().count(b"\x89PNG") == 2  # samples and reconstructions


def test_moving_statistics_are_in_the_weights(run):
    arrays, header = load_arrays(run / "best.npz", kind="weights")
    assert header["model"]["batch"] == 3
    variances = [v for name, v in arrays.items() if name.endswith("norm.variance")]
    assert len(variances) == 12 and all((v != 1).all() and (v > 0).all() for v in variances)


def test_going_on_gives_what_an_undisturbed_run_gives(run, colour, tmp_path):
    parts = shutil.copytree(run, tmp_path / "parts")
    assert train(colour, parts, "--preset", "tiny", iterations=4) == 0
    assert train(colour, tmp_path / "whole", "--preset", "tiny", iterations=4) == 0
    rows = [read_metrics(folder / "metrics.csv") for folder in (parts, tmp_path / "whole")]
    for one, other in zip(*rows):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    # Parameters, Adam's state and, in the best weights, batch norm's moving statistics: bit for bit.
    for name in ("checkpoint.npz", "best.npz"):
        ours, truth = (load_arrays(folder / name)[0] for folder in (parts, tmp_path / "whole"))
        assert ours.keys() == truth.keys()
        for key in truth:
            np.testing.assert_array_equal(ours[key], truth[key], err_msg=key)


def evaluate(capsys, *arguments):
    assert call(imagenet64, "evaluate", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_evaluate(run, capsys):
    expected = json.loads((run / "results.json").read_text())["test"]
    numbers = evaluate(capsys, run, "--batch-size", 3)
    assert numbers["bound"]["mean"] == pytest.approx(expected["bound"]["mean"], rel=1e-4)
    moving = evaluate(capsys, run, "--batch-norm", "moving", "--images", 4)
    assert moving["images"] == 4 and moving["batch_norm"] == "moving"
    assert moving["reconstruction"]["mean"] != pytest.approx(expected["reconstruction"]["mean"])


def test_both_samplers_draw_the_same_picture(run, tmp_path):
    for sampler in ("cached", "naive"):
        out = ("--sampler", sampler, "--count", 2, "--out", tmp_path / f"{sampler}.png")
        assert call(imagenet64, "sample", run, *out) == 0
    assert (tmp_path / "cached.png").read_bytes() == (tmp_path / "naive.png").read_bytes()


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_reconstruct(run, tmp_path, colour, level):
    out = tmp_path / "r.png"
    arguments = ("--level", level, "--count", 3, "--draws", 2, "--out", out)
    assert call(imagenet64, "reconstruct", run, *arguments) == 0
    assert size(out, 3, 3)
    first = np.asarray(Image.open(out))[2 : 2 + 2 * SIDE, 2 : 2 + 2 * SIDE].transpose(2, 0, 1)[
        :, ::2, ::2
    ]
    np.testing.assert_array_equal(first, np.load(colour)["test"][0])


def test_vary_holds_the_levels_above(run, tmp_path):
    out = tmp_path / "v.png"
    assert call(imagenet64, "vary", run, "--count", 3, "--scenes", 2, "--out", out) == 0
    assert size(out, 3, 6)
    assert call(imagenet64, "vary", run, "--level", "middle", "--out", out) == 0
    assert size(out, 8, 1)


ABLATIONS = {
    "gaussian pixels": ["--pixel-decoder", "gaussian"],
    "gaussian top": ["--top-decoder", "gaussian"],
    "one level": ["--one-level"],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations(name, colour, tmp_path, capsys):
    arguments = ["--preset", "tiny", *ABLATIONS[name]]
    assert train(colour, tmp_path / "run", *arguments, experiment=lsun_bedrooms) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results) == {"iteration", "test"}
    assert results["test"]["model"].startswith("tiny, ")
    assert ("kl2" in results["test"]) == (name != "one level")
    capsys.readouterr()
    if name == "one level":
        assert call(lsun_bedrooms, "vary", tmp_path / "run", "--level", "middle") == 2
        assert "top or bottom" in error(capsys)


def test_one_level_on_grey_digits(tmp_path):
    data = pictures(tmp_path / "grey.npz", 4, 28, 28)
    assert train(data, tmp_path / "run", experiment=mnist_256, iterations=1) == 0
    assert size(tmp_path / "run" / "vary.png", 8, 2, side=28)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["train", "--preset", "huge"], "--preset"),
        (["train", "--preset", "tiny", "--one-level", "--top-decoder", "gaussian"], "two levels"),
        (["train", "--preset", "64px_big", "--data", "{colour}"], "(3, 64, 64)"),
        (["train", "--preset", "tiny", "--data", "{colour}", "--source", "."], "--source"),
        (["train", "--preset", "tiny", "--iterations", "0"], "--iterations"),
        (["evaluate", "{empty}"], "best.npz"),
        (["evaluate", "{run}", "--images", "7"], "(--images)"),
        (["sample", "{run}/config.json"], "config.json"),
        (["vary", "{run}", "--level", "lowest"], "--level"),
        (["reconstruct", "{run}", "--count", "1", "--out", "{run}/x.jpg"], ".png"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, says, run, colour, tmp_path, capsys):
    names = {"run": run, "colour": colour, "empty": tmp_path}
    arguments = [a.format(**names) for a in arguments]
    if arguments[0] == "train":
        arguments += ["--out", str(tmp_path / "out")]
    assert call(imagenet64, *arguments) == 2
    assert says in error(capsys)


def test_weights_of_another_model_are_refused(tmp_path, capsys):
    from pixelvae.machine.files.arrays import save_arrays

    header = {"kind": "weights", "model": {"model": "pixelvae", "layers": 3}}
    save_arrays(tmp_path / "other.npz", {"a": np.zeros(3)}, header)
    assert call(imagenet64, "evaluate", tmp_path / "other.npz") == 2
    assert "another kind of model" in error(capsys)
