"""A real JupyterLab in a real browser, for tests that see what a learner sees.

`open_notebook("00_welcome.ipynb")` opens a copy of that notebook; what it returns runs it and tells what went
wrong. Opening JupyterLab and starting a kernel take seconds, so the tests of a widget share one notebook
(`open_shared_notebook`) and run its cell afresh. The server, its kernels and the browser reach nothing but this
machine; no personal settings are read. Whatever must happen has a minute or more, so that no test depends on speed.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from painting import PAINTED
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, sync_playwright

from llmlab.offline import kernel_environment
from llmlab.widgets.base import LabWidget

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
WINDOW = {"width": 1280, "height": 900}
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
CLOSE = "() => window.llmlabPanel?.sessionContext.shutdown()"
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
RUN = """async indices => {
    for (const index of indices) {
        window.llmlabPanel.content.activeCellIndex = index;
        await window.jupyterapp.commands.execute('notebook:run-cell');
    }
}"""
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
SHOW = """async indices => {
    for (const index of indices) {
        await window.llmlabPanel.content.scrollToItem(index, 'start');
        await window.llmlabPanel.content.widgets[index].ready;
    }
}"""
NOT_DRAWN = """indices => indices.filter(index => {
    const cell = window.llmlabPanel.content.widgets[index];
    const views = cell.model.outputs.toJSON().filter(
        output => 'application/vnd.jupyter.widget-view+json' in (output.data ?? {}));
    const drawn = cell.node.querySelectorAll('.jp-OutputArea-output > .lm-Widget:not(:empty)');
    return drawn.length < views.length || cell.node.textContent.includes('Error displaying widget');
})"""
FILLED = """width => {
    const box = window.llmlabPanel.node.getBoundingClientRect();
    return window.innerWidth === width && box.left < 60 && box.right <= width && box.right > width - 60;
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
    _listeners: dict[str, Callable] = field(default_factory=dict, init=False, repr=False)

    def painted(self) -> "OpenPage":
        """Waits for two frames, since what a page does on account of its size it does after the first."""
        self.page.evaluate(PAINTED)
        return self

    def until(self, ask: Callable[[], object], expected: object, seconds: float = 60) -> None:
        """Asks until the answer is the expected one, and fails with the last answer when it never is."""
        end = time.monotonic() + seconds
        while (answer := ask()) != expected and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        assert answer == expected

    def watch(self, own: str) -> None:
        """Begins to collect errors, and requests to anything but the server or file at `own`."""
        inside = (own, own.replace("http", "ws", 1), "data:", "blob:", "about:")
        self._listeners = {
            "console": self._on_console,
            "pageerror": lambda error: self.console_errors.append(f"uncaught: {error}"),
            "request": lambda request: request.url.startswith(inside) or self.requests_outside.append(request.url),
        }
        for event, listener in self._listeners.items():
            self.page.on(event, listener)

    def unwatch(self) -> Page:
        """Ends the collecting and returns the page."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)
        return self.page

    def leave(self) -> Page:
        """Ends the collecting, empties the page and returns it, for another document."""
        self.unwatch()
        self.page.mouse.move(-1, -1)  # over nothing, as in a new page
        self.page.goto("about:blank")
        return self.page

    def _on_console(self, message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(pattern.search(text) for pattern in HARMLESS):
            self.console_errors.append(text)


@dataclass
class OpenNotebook(OpenPage):
    """A notebook in the browser, with its kernel ready."""

    name: str
    asked: set[int] = field(default_factory=set, kw_only=True)  # the cells that were to run

    def run_all(self, seconds: float = 900) -> None:
        """Runs all cells; returns when the last has run."""
        self.asked = set(range(len(self.cells())))
        self.within(seconds, "the cells did not all run", RUN_ALL)

    def run(self, *indices: int, seconds: float = 900) -> None:
        """Runs these cells, one after the other."""
        self.asked |= set(indices)
        self.within(seconds, "the cells did not all run", RUN, indices)

    def run_afresh(self, index: int = 0) -> None:
        """Runs a cell that another test may have run before, in the light theme and a window of the usual size."""
        for seen in (self.asked, self.console_errors, self.requests_outside):
            seen.clear()
        self.page.set_viewport_size(WINDOW)
        self.set_theme("light")
        self.run(index)

    def said(self, index: int) -> str:
        """Runs a cell that prints, and returns what it printed.

        What it says of a widget's traits is asked with `until`: Jupyter holds a change back while an earlier one is
        handled, and the cell may overtake it.
        """
        self.run(index)
        return "".join(self.cells()[index]["outputs"][0]["text"]).strip()

    def within(self, seconds: float, otherwise: str, script: str, argument: object = None) -> object:
        """The result of a script in the page, or a failure that begins with `otherwise`."""
        call = f"([what, seconds, argument]) => ({WITHIN})(what, seconds, () => ({script})(argument))"
        return self.page.evaluate(call, [otherwise, seconds, argument])

    def cells(self) -> list[dict]:
        """All cells: type, source, execution count, outputs."""
        return self.page.evaluate(CELLS)

    def cell_errors(self) -> list[str]:
        """What no cell that was to run should leave behind: errors, messages to stderr, code that did not run."""
        found = []
        cells = self.cells()
        for index in sorted(self.asked):
            cell = cells[index]
            if cell["type"] == "code" and cell["source"].strip() and cell["count"] is None:
                found.append(f"cell {index}: did not run")
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    found.append(f"cell {index}: {output['ename']}: {output['evalue']}")
                elif output.get("name") == "stderr":
                    found.append(f"cell {index}: {output['text']}")
        return found

    def show(self, indices: list[int], seconds: float = 180) -> None:
        """Scrolls to these cells, one after the other, and waits until every widget among their outputs is drawn."""
        self.within(seconds, "not every cell could be shown", SHOW, indices)
        end = time.monotonic() + seconds
        while missing := self.page.evaluate(NOT_DRAWN, indices):
            if self.console_errors or time.monotonic() > end:
                pytest.fail(f"the widgets of cells {missing} are not drawn: {self.console_errors}")
            self.page.wait_for_timeout(50)

    def scroll_to(self, index: int) -> None:
        """Brings cell `index` to the top: only cells near the visible ones are in the page."""
        self.page.evaluate(SCROLL_TO, index)

    def set_theme(self, name: str) -> None:
        """`light` or `dark`."""
        command = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
        self.page.evaluate(command, THEMES[name])
        is_light = json.dumps(name == "light")
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{is_light}'")

    def resize(self, width: int, height: int) -> None:
        """Makes the window that large, and waits until the notebook fills it, without the panel on its left."""
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_function(FILLED, arg=width)
        self.painted()

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
    command += ["--ServerApp.contents_manager_class=llmlab.notebooks.serving.WorkingCopies"]  # as the launcher does
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


def _wait_until_it_answers(url: str, server: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while True:
        try:
            opener.open(url, timeout=60).close()
            return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"JupyterLab did not start: {error}\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)


@contextmanager
def opening(lab: Lab, browser: Browser) -> Iterator[Callable[[str], OpenNotebook]]:
    """A function that opens notebooks by their file names; at the end they are closed and their kernels end."""
    opened: list[OpenNotebook] = []

    def open_it(name: str, *, seconds: float = 180) -> OpenNotebook:
        if not (lab.root / name).is_file():
            pytest.fail(f"there is no notebook {name} to open")
        context = browser.new_context(viewport=WINDOW)
        context.set_default_timeout(60_000)
        page = context.new_page()
        notebook = OpenNotebook(page, name)
        opened.append(notebook)
        notebook.watch(own=lab.url)
        page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset", timeout=1000 * seconds)
        page.wait_for_function("() => window.jupyterapp", timeout=1000 * seconds)
        notebook.within(seconds, f"JupyterLab did not open {name}", OPEN, name)
        return notebook

    try:
        yield open_it
    finally:
        for notebook in opened:
            notebook.within(60, "the kernel did not end", CLOSE)
            notebook.page.context.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[[str], OpenNotebook]]:
    """Opens a notebook of the course, or one that the test wrote into `lab.root`, by its file name."""
    with opening(lab, browser) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def open_shared_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[[str], OpenNotebook]]:
    """The same for a notebook that all tests of a module share: each runs its cells afresh (`run_afresh`)."""
    with opening(lab, browser) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def idle_pages(browser: Browser) -> Iterator[list[Page]]:
    """Empty pages, with the network off, that the tests of a module take and give back."""
    pages: list[Page] = []
    yield pages
    for page in pages:
        page.context.close()


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest, browser: Browser, idle_pages: list[Page]
) -> Iterator[Callable[..., OpenPage]]:
    """Opens a page from its file, with the network off, in the light or dark theme.

    A new document in a page that another test has left takes half the time of a new page. What a test sets in a page
    is put back; after a test that failed, its pages are closed.
    """
    opened: list[OpenPage] = []
    n_failed = request.session.testsfailed

    def open_it(path: Path, *, theme: str = "light", width: int = 1100) -> OpenPage:
        page = idle_pages.pop() if idle_pages else browser.new_context(offline=True).new_page()
        one = OpenPage(page)
        opened.append(one)
        page.context.set_default_timeout(60_000)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media="null", color_scheme=theme, reduced_motion="null", forced_colors="null")
        one.watch(own=path.resolve().as_uri())
        page.goto(path.resolve().as_uri())
        return one.painted()

    yield open_it
    for one in opened:
        if request.session.testsfailed == n_failed:
            idle_pages.append(one.leave())
        else:
            one.page.context.close()


@pytest.fixture
def open_saved(tmp_path: Path, open_page: Callable[..., OpenPage]) -> Iterator[Callable[..., OpenPage]]:
    """Saves the page of a widget and opens it, with no kernel and no network; in the end it has had no errors."""
    opened: list[OpenPage] = []

    def save_and_open(widget: LabWidget, **how) -> OpenPage:
        opened.append(open_page(widget.save_html(tmp_path / "page.html"), **how))
        return opened[-1]

    yield save_and_open
    for page in opened:
        assert page.console_errors == [] and page.requests_outside == []
