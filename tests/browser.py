"""Debian's Chromium without a window, for pages: what a reader would see of them."""

from __future__ import annotations

import shutil

import pytest

#: Nothing of it goes to the network, and it runs as root in a container.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """A browser with one page."""

    def __init__(self, profile):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.binary_location = shutil.which("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))

    def open(self, path, width, query=""):
        """Show a file in a window of so many pixels."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.get(path.as_uri() + query)

    def run(self, script, *arguments):
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, script, seconds=30):
        """Until a script returns something true."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, seconds).until(lambda driver: driver.execute_script(script))

    def touch(self, element, x, y):
        """Touch a point of an element, counted from its upper left."""
        box = self.run("return arguments[0].getBoundingClientRect().toJSON()", element)
        point = {"x": box["x"] + x, "y": box["y"] + y}
        for kind, points in (("touchStart", [point]), ("touchEnd", [])):
            self.driver.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )

    def complaints(self):
        """What the page has written to the console since the last call."""
        return self.driver.get_log("browser")

    def fits(self):
        """Whether nothing sticks out to the right."""
        root = "document.documentElement"
        return self.run(f"return {root}.scrollWidth <= {root}.clientWidth")

    def missing_pictures(self):
        """The alternative texts of pictures that are not there."""
        return self.run(
            "return [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)"
        )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for the tests of a file."""
    for program, package in (("chromium", "chromium"), ("chromedriver", "chromium-driver")):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here (Debian's package {package})")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()
