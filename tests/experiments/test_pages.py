"""Pages to look at: what they hold and what a browser shows; runs that lack something, and damaged ones."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
import sys
from functools import partial
from html.parser import HTMLParser

import command_lines
import numpy as np
import pytest
import theano
from browser import browser  # noqa: F401
from command_lines import error
from PIL import Image

from pixelvae.experiments import lsun_bedrooms, mnist_pixelvae, pictures
from pixelvae.experiments.command_line import parse
from pixelvae.experiments.commands import train
from pixelvae.experiments.invocations import training_command
from pixelvae.experiments.pages import curves
from pixelvae.experiments.pages.run_report import write_report
from pixelvae.lib import noise
from pixelvae.lib.units import NATS
from pixelvae.machine.console import command
from pixelvae.machine.files.arrays import load_arrays, save_arrays
from pixelvae.machine.files.atomic import to_json
from pixelvae.models.mnist.model import MnistModel, Settings
from pixelvae.models.weights import load
from studies import latent_plane, mnist_latents
from studies.publishing.records import ROOT

pytestmark = pytest.mark.usefixtures("fast_compile")

TINY = ["--data", "digits", "--layers", 1, "--dim-pix", 2, "--latent-dim", 2]
TINY += ["--filter-size", 3, "--batch-size", 100, "--eval-every", 2]


call = partial(command_lines.call, mnist_pixelvae)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished tiny training with two latent dimensions."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    assert call("train", *TINY, "--iterations", 3, "--out", folder) == 0
    return folder


def explore(*words):
    options = mnist_latents.parse(["explore", *[str(word) for word in words]])
    return command.main(options.function, options)


@pytest.fixture(scope="module")
def plane(run):
    """The page of the run's latent plane, with a grid of draws that is small."""
    patch = pytest.MonkeyPatch()
    patch.setattr(latent_plane, "CELLS", 6)
    assert explore(run, "--data", "digits") == 0
    patch.undo()
    return run / "explore.html"


@pytest.fixture
def copy(run, tmp_path):
    """The same, to be changed; times of files are kept."""
    return shutil.copytree(run, tmp_path / "copy")


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def images(self):
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        return [base64.b64decode(s[len("data:image/png;base64,") :]) for s in sources]


def test_a_finished_training_leaves_a_page_that_needs_nothing_else(run):
    page = Page(run / "report.html")
    assert page.images() == [
        (run / f"{n}.png").read_bytes() for n in ("samples", "reconstructions", "vary")
    ]
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and tags.count("svg") == 3
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    known = {f"#{name}" for name in ids}
    assert {a["xlink:href"] for _, a in page.tags if "xlink:href" in a} <= known
    results = json.loads((run / "results.json").read_text())
    for split in ("valid", "test"):
        for quantity in ("bound", "reconstruction", "kl"):
            numbers = results[split][quantity]
            assert f"{numbers['mean']:.2f} ± {numbers['se']:.2f}" in page.text
    assert "not finished" not in page.text
    words = page.text.split("Machine and software")[1]
    assert re.search(r"CPU cores\s*\d+\s*device\s*cpu\s*TF32\s*off", words)
    for line in page.text.splitlines():
        if line.startswith("python "):
            assert parse(mnist_pixelvae.EXPERIMENT, shlex.split(line)[2:])


def test_a_run_without_pictures_gets_a_few_samples_and_is_told_the_rest(copy, capsys):
    pictures = ("samples.png", "reconstructions.png", "vary.png")
    for name in (*pictures, "results.json", "report.html"):
        (copy / name).unlink()
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["iterations"] = 1_000
    (copy / "config.json").write_text(json.dumps(config))
    assert call("report", copy) == 0
    assert capsys.readouterr().out == f"{copy / 'report.html'}\n"
    page = Page(copy / "report.html")
    assert len(page.images()) == 1
    assert "16 images drawn" in page.text
    assert "reconstructions.png" in page.text and "vary.png" in page.text
    assert "3 of 1,000 iterations" in page.text and "results.json" in page.text
    assert "--iterations 1000" in page.text


def test_the_page_of_a_training_that_goes_on_reloads_itself_with_its_own_pictures(copy):
    drawn = {"samples": (copy / "vary.png").read_bytes()}
    (copy / "results.json").unlink()
    page = Page(write_report(mnist_pixelvae.EXPERIMENT, copy, drawn=drawn))
    assert page.images() == [drawn["samples"]]
    reloads = ("meta", {"http-equiv": "refresh", "content": "10"})
    assert reloads in page.tags and "The training goes on" in page.text
    ended = Page(write_report(mnist_pixelvae.EXPERIMENT, copy))
    assert reloads not in ended.tags and "goes on" not in ended.text


def test_pictures_and_numbers_of_older_weights_are_not_taken_for_theirs(copy, capsys):
    arrays, header = load_arrays(copy / "best.npz")
    save_arrays(copy / "best.npz", arrays, {**header, "iteration": header["iteration"] + 1})
    assert call("report", copy) == 0
    page = Page(copy / "report.html")
    assert page.images()[0] != (copy / "samples.png").read_bytes()
    assert (
        f"weights of iteration {header['iteration']};" in page.text
        and "No picture of these weights" in page.text
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", b"{", "config.json is damaged"),
        ("config.json", b"[]", "config.json, metrics.csv or results.json"),
        ("config.json", None, "is not a run's folder"),
        ("results.json", b'{"test": {"images": 3}}', "config.json, metrics.csv or results.json"),
        ("results.json", b"\xff", "results.json is damaged"),
        ("metrics.csv", b"iteration\nmany\nmore\n", "metrics.csv"),
        ("best.npz", b"PK", "best.npz"),
        ("best.npz", None, "holds no best.npz"),
    ],
)
def test_a_damaged_run_is_one_line_and_keeps_its_page(copy, capsys, name, content, says):
    before = (copy / "report.html").read_bytes()
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    capsys.readouterr()
    assert call("report", copy) == 2
    assert says in error(capsys)
    assert (copy / "report.html").read_bytes() == before


def test_a_picture_that_is_damaged_is_named_as_missing(copy):
    (copy / "reconstructions.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    assert call("report", copy) == 0
    page = Page(copy / "report.html")
    assert len(page.images()) == 2 and "(reconstructions.png)" in page.text


def test_a_training_ends_well_without_the_packages_of_pages(copy, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "pixelvae.experiments.pages.html")
    before = (copy / "report.html").read_bytes()
    train.write_page(mnist_pixelvae.EXPERIMENT, copy, load(str(copy)))
    assert "report.html was not written: this needs Jinja2, which" in capsys.readouterr().err
    assert (copy / "report.html").read_bytes() == before
    assert call("report", copy) == 2
    assert "this needs Jinja2" in error(capsys)


def rows(*bounds):
    kinds = [(n, b, split) for n, b in enumerate(bounds, 1) for split in ("train", "valid")]
    return [
        {"iteration": n, "split": split, "bound": b, "reconstruction": b, "kl": 0.0, "kl1": None}
        for n, b, split in kinds
    ]


def test_curves_cut_a_high_beginning_off_and_say_so():
    plain, cut = (list(curves.draw(rows(first, *range(90, 80, -1)), NATS)) for first in (91, 900))
    assert len(plain) == 1  # no KL
    assert "above the frame" not in plain[0].caption and "above the frame" in cut[0].caption
    assert (
        'aria-label="Negative log-likelihood: validation 81.00 at iteration 11"' in cut[0].drawing
    )


def test_curves_of_evaluations_that_were_not_finite():
    (curve,) = curves.draw(rows(90.0, float("nan")), NATS)
    assert "validation 90.00 at iteration 1" in curve.drawing
    (curve,) = curves.draw(rows(float("nan")), NATS)
    assert "no finite value" in curve.drawing


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (mnist_pixelvae, "--model pixelvae --preset few-cores --layers 2 --decay-after 7 --seed 3"),
        (mnist_pixelvae, "--preset quick --kl-warmup 5"),
        (lsun_bedrooms, "--preset 64px_small --one-level --pixel-decoder gaussian --batch-size 5"),
        (lsun_bedrooms, "--preset 32px_small --top-decoder gaussian --learning-rate 0.1"),
        (pictures, "--preset tiny --image-size 48"),
    ],
)
def test_the_command_that_is_told_trains_with_the_same_settings(experiment, words):
    experiment = experiment.EXPERIMENT
    given = parse(
        experiment, ["train", *shlex.split(words), "--data", "my data", "--out", "my run"]
    )
    preset = given.chosen
    side = getattr(given, "image_size", None) or preset.settings.image_shape[1]

    class Images:
        name, levels = "my data", experiment.family.levels
        image_shape = (preset.settings.image_shape[0], side, side)

    def settings(options):
        return {
            "model": vars(train.fitted(experiment, options.chosen, Images)),
            **vars(options.chosen.training),
            "seed": options.seed,
            "data": {"name": options.data, "checksum": "0"},
        }

    saved = json.loads(to_json(settings(given)))
    told = shlex.split(training_command(experiment, saved, given.preset, given.out))[2:]
    again = parse(experiment, told)
    assert json.loads(to_json(settings(again))) == saved
    assert str(again.out) == "my run" and getattr(again, "image_size", None) in (None, side)
    assert (
        np.prod(Images.image_shape) == np.prod(given.chosen.settings.image_shape)
        or again.image_size
    )


def test_the_plane_shows_each_place_with_what_is_drawn_there(run, plane):
    page = Page(plane)
    scatter, sprite = (np.asarray(Image.open(io.BytesIO(data))) for data in page.images())
    model = load(str(run)).model
    half = float(re.search(r"explore\(6, ([\d.]+)\)", page.text).group(1))
    z = latent_plane.centres(half, 6)
    assert z.shape == (36, 2)
    np.testing.assert_allclose(z[0], [-5 / 6 * half, 5 / 6 * half], rtol=1e-6)  # the top left
    np.testing.assert_allclose(z[7] - z[0], [half / 3, -half / 3], rtol=1e-5)
    # The image of a place is what the decoder draws there, pixel by pixel: its own probabilities agree.
    images = sprite.reshape(6, 28, 6, 28).swapaxes(1, 2).reshape(36, 1, 28, 28) // 255
    x, latent = theano.tensor.tensor4("x"), theano.tensor.matrix("z")
    decode = theano.function(
        [x, latent], theano.tensor.nnet.sigmoid(model.decode(x, {"z": latent}))
    )
    uniform = noise.uniforms(0, "sample pixels", [0], model.image_shape)
    np.testing.assert_array_equal(images, uniform < decode(images.astype("float32"), z))
    assert scatter.shape == (800, 800, 4)


def test_the_documented_command_draws_a_plane():
    page = (ROOT / "docs/commands.md").read_text()
    commands = re.findall(r"^python studies/mnist_latents.py (.*)", page, re.M)
    assert [mnist_latents.parse(shlex.split(c)).function for c in commands] == [
        mnist_latents.explore
    ]


def test_points_and_names_of_digits_stand_where_their_means_are():
    means = np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 0.0]], "float32")
    labels = np.array([1, 1, 7])
    png = latent_plane._scatter(means, labels, 2.0)
    alpha = np.asarray(Image.open(io.BytesIO(png)))[..., 3]
    assert alpha[200, 600] and alpha[400, 200] and not alpha[600, 600]
    one, seven = latent_plane._legend(means, labels, 2.0)
    assert (one["name"], one["count"], one["place"]) == (1, 2, (75.0, 25.0))
    assert (seven["name"], seven["count"], seven["place"]) == (7, 1, (25.0, 50.0))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["RUN", "--data", "cifar10"], "cifar10"),
        (["nowhere"], "nowhere is not a run's folder"),
        (["RUN/.."], "holds no best.npz"),
    ],
)
def test_a_plane_that_cannot_be_drawn_is_one_line(run, capsys, words, says):
    assert explore(*[word.replace("RUN", str(run)) for word in words]) == 2
    assert says in error(capsys)


def test_a_plane_has_two_dimensions(copy, capsys):
    _, header = load_arrays(copy / "best.npz")
    header["model"]["latent_dim"] = 3
    model = MnistModel(Settings.within(header["model"]))
    save_arrays(copy / "best.npz", model.parameters.arrays(), header)
    assert explore(copy) == 2
    assert "has 3 latent dimensions" in error(capsys)


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["report.html", "explore.html"])
def test_a_page_can_be_read_in_a_window_of_any_width(browser, run, plane, name, width):  # noqa: F811
    browser.open(run / name, width)
    assert browser.complaints() == []
    assert browser.missing_pictures() == []
    assert browser.fits()


def test_the_image_follows_pointer_keys_and_touch(browser, plane):  # noqa: F811
    from selenium.webdriver import ActionChains, Keys

    browser.open(plane, 1400)
    page = Page(plane)
    half = float(re.search(r"explore\(6, ([\d.]+)\)", page.text).group(1))
    sprite = Image.open(io.BytesIO(page.images()[1]))
    preview, place = (browser.driver.find_element("id", name) for name in ("preview", "place"))
    square = browser.driver.find_element("css selector", ".plane")
    side = square.size["width"]

    def check(column, row):
        """That the place is named, and that its image is seen: the middle of each enlarged pixel is enough."""
        z = latent_plane.centres(half, 6)[6 * row + column]
        assert place.text == f"z = ({z[0]:.2f}, {z[1]:.2f})".replace("-", "−")
        box = (28 * column, 28 * row, 28 * (column + 1), 28 * (row + 1))
        with Image.open(io.BytesIO(preview.screenshot_as_png)) as shown:
            seen = np.asarray(shown.convert("L").resize((28, 28), Image.Resampling.NEAREST))
        inside = slice(2, -2)  # its corners are round
        expected = np.asarray(sprite.crop(box))[inside, inside]
        assert np.mean((seen[inside, inside] > 127) == (expected > 127)) > 0.97

    def move(column, row):
        offset = [round(side * ((n + 0.5) / 6 - 0.5)) for n in (column, row)]
        ActionChains(browser.driver).move_to_element_with_offset(square, *offset).perform()

    check(3, 3)
    move(1, 1)
    check(1, 1)
    move(5, 4)
    check(5, 4)
    square.send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_UP)
    check(4, 2)
    browser.touch(square, 5, 5)
    check(0, 0)
    square.send_keys(Keys.ARROW_LEFT)  # nothing lies beyond the edge
    check(0, 0)
    assert browser.complaints() == []
