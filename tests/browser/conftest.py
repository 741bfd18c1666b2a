"""A real JupyterLab in a real browser, for tests that see what a learner sees.

`open_notebook("00_welcome.ipynb")` opens a copy of that notebook; what it returns runs it and tells what went
wrong. The server, its kernels and the browser reach nothing but this machine; no personal settings are read.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

from llmlab.offline import kernel_environment

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
APPLICATIONS = ("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# Lines that JupyterLab itself writes to the console as errors, and that are none.
HARMLESS: tuple[re.Pattern[str], ...] = ()

# What runs in the page.
WITHIN = """(what, seconds, work) => Promise.race([work(), new Promise((_, fail) => setTimeout(() => {
    const dialog = document.querySelector('.jp-Dialog');
    fail(new Error(`${what} within ${seconds} s${dialog ? '; a dialog asks: ' + dialog.innerText : ''}`));
}, 1000 * seconds))])"""
OPEN = """async path => {
    const app = window.jupyterapp;
    const find = () => [...app.shell.widgets('main')].find(w => w.context && w.context.path === path);
    await app.restored;
    while (!find()) await new Promise(done => setTimeout(done, 50));
    const panel = window.llmlabPanel = find();
    await panel.context.ready;
    await panel.revealed;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    app.shell.activateById(panel.id);
}"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
CELLS = """() => window.llmlabPanel.content.widgets.map(cell => ({
    type: cell.model.type,
    source: cell.model.sharedModel.getSource(),
    count: cell.model.executionCount ?? null,
    outputs: cell.model.outputs ? cell.model.outputs.toJSON() : [],
}))"""
SCROLL_TO = """async index => {
    const notebook = window.llmlabPanel.content;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, 'start');
    await notebook.widgets[index].ready;
}"""
SCREENFUL = """async number => {
    const notebook = window.llmlabPanel.content, area = notebook.outerNode ?? notebook.node;
    area.scrollTop = number * (area.clientHeight - 40);
    await new Promise(done => setTimeout(done, 200));
    const last = notebook.widgets.at(-1).node;
    return last.isConnected && last.getBoundingClientRect().bottom <= area.getBoundingClientRect().bottom + 1;
}"""


@dataclass
class Lab:
    """A running JupyterLab. A notebook that lies in `root` can be opened."""

    url: str
    token: str
    root: Path

    def write(self, name: str, *cells: str | NotebookNode) -> str:
        """Writes a notebook of these cells (a text is a code cell) into `root`, to be opened; returns its name."""
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        text = json.dumps(new_notebook(cells=made, metadata=metadata))
        (self.root / name).write_text(text, encoding="utf-8")
        return name


@dataclass
class OpenPage:
    """A page in the browser.

    `console_errors` are errors of the page's scripts and on its console; `requests_outside` what it asked of
    other machines (refused), and of this one beyond what it belongs to.
    """

    page: Page
    console_errors: list[str] = field(default_factory=list, kw_only=True)
    requests_outside: list[str] = field(default_factory=list, kw_only=True)

    def watch(self, own: str) -> None:
        """Begins to collect errors, and requests to anything but the server or file at `own`."""
        inside = (own, own.replace("http", "ws", 1), "data:", "blob:", "about:")
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.console_errors.append(f"uncaught: {error}"))
        self.page.on("request", lambda r: r.url.startswith(inside) or self.requests_outside.append(r.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(pattern.search(text) for pattern in HARMLESS):
            self.console_errors.append(text)


@dataclass
class OpenNotebook(OpenPage):
    """A notebook in the browser, with its kernel ready."""

    name: str

    def run_all(self, seconds: float = 120) -> None:
        """Runs all cells; returns when the last has run."""
        self.within(seconds, "the cells did not all run", RUN_ALL)

    def within(self, seconds: float, otherwise: str, script: str, argument: object = None) -> object:
        """The result of a script in the page, or a failure that begins with `otherwise`."""
        call = f"([what, seconds, argument]) => ({WITHIN})(what, seconds, () => ({script})(argument))"
        return self.page.evaluate(call, [otherwise, seconds, argument])

    def cells(self) -> list[dict]:
        """All cells: type, source, execution count, outputs."""
        return self.page.evaluate(CELLS)

    def cell_errors(self) -> list[str]:
        """What no cell should leave behind: errors and messages to stderr, and code that did not run."""
        found = []
        for index, cell in enumerate(self.cells()):
            if cell["type"] == "code" and cell["source"].strip() and cell["count"] is None:
                found.append(f"cell {index}: did not run")
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    found.append(f"cell {index}: {output['ename']}: {output['evalue']}")
                elif output.get("name") == "stderr":
                    found.append(f"cell {index}: {output['text']}")
        return found

    def scroll_to(self, index: int) -> None:
        """Brings cell `index` to the top: only cells near the visible ones are in the page."""
        self.page.evaluate(SCROLL_TO, index)

    def set_theme(self, name: str) -> None:
        """`light` or `dark`."""
        command = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
        self.page.evaluate(command, THEMES[name])
        is_light = json.dumps(name == "light")
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{is_light}'")

    def screenshots(self, name: str) -> list[Path]:
        """One picture a screenful, into the folder that LLMLAB_SCREENSHOTS names; none when it is not set."""
        folder = os.environ.get("LLMLAB_SCREENSHOTS")
        pictures: list[Path] = []
        while folder and len(pictures) < 100:
            at_end = self.page.evaluate(SCREENFUL, len(pictures))
            pictures.append(Path(folder) / f"{name}-{len(pictures):02d}.png")
            self.page.screenshot(path=pictures[-1])
            if at_end:
                break
        return pictures


def find_chromium(playwright: Playwright) -> str | None:
    """The path of an installed Chromium or Chrome, or of playwright's own; None where there is none."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    found += [path for path in (*APPLICATIONS, playwright.chromium.executable_path) if Path(path).is_file()]
    return found[0] if found else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Stopped with each module: playwright's event loop would disturb other tests."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            message = (
                "NO BROWSER, SO NOTHING IS TESTED IN JUPYTERLAB: install Chromium or Chrome, "
                "or run `python -m playwright install chromium`"
            )
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(message)
            warnings.warn(message, stacklevel=1)
            pytest.skip(message)
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the course's notebooks, with settings of its own and kernels of this Python."""
    place = tmp_path_factory.mktemp("jupyterlab")
    shutil.copytree(repo / "notebooks", place / "root", ignore=shutil.ignore_patterns(".*"))
    env = kernel_environment(place)
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        env[f"JUPYTER_{name}"] = str(place / name.lower())
    for name in ("SETTINGS_DIR", "WORKSPACES_DIR"):
        env[f"JUPYTERLAB_{name}"] = str(place / name.lower())
    page_config = place / "config_dir" / "labconfig" / "page_config.json"
    page_config.parent.mkdir(parents=True)
    disabled = {"@jupyterlab/apputils-extension:announcements": True}
    page_config.write_text(json.dumps({"disabledExtensions": disabled}))
    env["JUPYTER_TOKEN"] = token = secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.allow_root=True"]
    command += [f"--ServerApp.root_dir={place / 'root'}", "--LabApp.expose_app_in_browser=True"]
    log = place / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=place, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_it_answers(f"{url}/api/status?token={token}", server, log)
        yield Lab(url, token, place / "root")
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_until_it_answers(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while True:
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"JupyterLab did not start: {error}\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[[str], OpenNotebook]]:
    """Opens a notebook of the course, or one that the test wrote into `lab.root`, by its file name."""
    contexts = []

    def open_it(name: str, *, seconds: float = 60) -> OpenNotebook:
        if not (lab.root / name).is_file():
            pytest.fail(f"there is no notebook {name} to open")
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        notebook = OpenNotebook(page, name)
        notebook.watch(own=lab.url)
        page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset", timeout=1000 * seconds)
        page.wait_for_function("() => window.jupyterapp", timeout=1000 * seconds)
        notebook.within(seconds, f"JupyterLab did not open {name}", OPEN, name)
        return notebook

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., OpenPage]]:
    """Opens a page from its file, with the network off, in the light or dark theme."""
    contexts = []

    def open_it(path: Path, *, theme: str = "light", width: int = 1100) -> OpenPage:
        viewport = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, color_scheme=theme, offline=True)
        contexts.append(context)
        opened = OpenPage(context.new_page())
        opened.watch(own=path.resolve().as_uri())
        opened.page.goto(path.resolve().as_uri())
        return opened

    yield open_it
    for context in contexts:
        context.close()
