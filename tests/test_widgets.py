"""What all widgets share: arrays as bytes, errors that are shown, tables, and pages that need no kernel."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import traitlets

from llmlab import load_model
from llmlab.cli import main
from llmlab.plots import COLORS
from llmlab.widgets import gallery
from llmlab.widgets.base import FOLDER, Array, LabWidget, Table
from llmlab.widgets.export import spaced
from llmlab.widgets.welcome import TokenTour

HOSTILE = "</script><script>alert(1)</script><!-- & <b>"


class Picture(LabWidget):
    """The least widget: an array, a text, and work that a test chooses."""

    js = "welcome.js"
    pixels = Array()
    label = traitlets.Unicode().tag(sync=True)
    score = traitlets.Float(0.0).tag(sync=True)
    start = traitlets.Int(0)
    work = staticmethod(lambda: None)

    @traitlets.observe("start")
    def _on_start(self, change):
        self._attempt(self.work)

    def tables(self):
        return [Table(f"about {self.label}", ["what", "value"], [[self.label, f"{self.score:.2f}"]])]


# Arrays and traits --------------------------------------------------------------------------------------------------


def test_arrays_travel_as_bytes_with_dtype_and_shape():
    picture = Picture(pixels=torch.arange(6.0, dtype=torch.float64).view(2, 3))
    state = picture.get_state(["pixels"])["pixels"]
    assert (state["dtype"], state["shape"]) == ("float32", [2, 3])
    assert bytes(state["data"]) == np.arange(6, dtype=np.float32).tobytes()
    picture.pixels = np.arange(4).reshape(2, 2)[:, ::-1]  # int64 and not contiguous
    state = picture.get_state(["pixels"])["pixels"]
    assert state["dtype"] == "int32" and np.frombuffer(state["data"], np.int32).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_what_one_widget_sends_another_receives_unchanged(dtype, shape):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    one, two = Picture(pixels=values, label=HOSTILE, scale=2.0, view="table"), Picture()
    names = ["pixels", "label", "scale", "view"]
    two.set_state(one.get_state(names))
    np.testing.assert_array_equal(two.pixels, values)
    assert two.pixels.dtype == values.dtype and two.pixels.shape == shape
    assert [getattr(two, name) for name in names[1:]] == [HOSTILE, 2.0, "table"]


def test_equal_arrays_are_no_change_and_other_things_no_arrays():
    picture, changes = Picture(pixels=np.zeros(3)), []
    picture.observe(changes.append, "pixels")
    picture.pixels = np.zeros(3)
    assert changes == []
    picture.pixels = np.ones(3)
    assert len(changes) == 1
    for wrong in ([1, 2, 3], np.array(["a"]), np.array([1 + 2j])):
        with pytest.raises(Exception, match="numpy array or a tensor"):
            picture.pixels = wrong


@pytest.mark.parametrize(("name", "value"), [("scale", 0.1), ("scale", 9.0), ("view", "song")])
def test_traits_refuse_what_they_cannot_be(name, value):
    with pytest.raises(traitlets.TraitError, match=name):
        Picture(**{name: value})


# Errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "shown"),
    [
        (ValueError("the prompt is too long"), "the prompt is too long"),
        (RuntimeError("shapes differ:\n  [2]\n  [3]"), "shapes differ: [2] [3]"),
        (ValueError(), "ValueError"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (traitlets.TraitError("no such view"), "TraitError: no such view"),
        (AssertionError("<b>bold</b>"), "AssertionError: <b>bold</b>"),
        (ValueError("first " + "7" * 10_000 + " last"), "first " + "7" * 194 + " … " + "7" * 195 + " last"),
    ],
)
def test_errors_of_any_type_are_shown_in_one_line_until_the_next_success(problem, shown):
    picture, seen = Picture(), []

    def work():
        seen.append(picture.busy)
        raise problem

    picture.work = work
    picture.start += 1
    assert picture.error == shown and seen == [True] and picture.busy is False
    picture.work = lambda: seen.append(picture.busy)
    picture.start += 1
    assert picture.error == "" and seen == [True, True] and picture.busy is False


def test_an_interrupt_is_not_swallowed_and_leaves_the_widget_idle():
    def work():
        raise KeyboardInterrupt

    picture = Picture()
    with pytest.raises(KeyboardInterrupt):
        picture._attempt(work)
    assert picture.busy is False
    picture._attempt(lambda: None)
    assert picture.error == "" and picture.busy is False


def test_work_within_work_stays_busy_and_its_problem_is_the_widgets():
    picture, seen = Picture(), []

    def outer():
        picture.start += 1
        seen.append(picture.busy)

    def inner():
        raise LookupError("no row 3")

    picture.work = lambda: None
    picture._attempt(outer)
    assert seen == [True] and picture.error == ""
    picture.work = inner
    picture._attempt(outer)
    assert seen == [True] and picture.error == "LookupError: no row 3" and picture.busy is False


def test_what_the_browser_sends_and_a_trait_refuses_is_shown_and_taken_back(monkeypatch):
    picture, sent = Picture(label="a cat"), []
    monkeypatch.setattr(picture, "send_state", lambda key=None: sent.append(key))
    picture.set_state({"label": "a dog", "scale": 100.0})
    assert "scale" in picture.error and "\n" not in picture.error
    assert (picture.label, picture.scale) == ("a cat", 1.0) and ["label", "scale"] in sent
    picture.set_state({"label": "a dog"})
    assert picture.error == "" and picture.label == "a dog"
    with pytest.raises(traitlets.TraitError):  # from Python, the error is the caller's
        picture.scale = 100.0


def test_a_mistake_in_an_observer_is_shown_when_the_browser_meets_it():
    picture = Picture()
    picture.observe(lambda change: {}["row"], "label")
    picture.set_state({"label": "a dog"})
    assert picture.error == "KeyError: 'row'"


# Tables and the fallback --------------------------------------------------------------------------------------------


class Text(HTMLParser):
    """The tags of a page and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.cells.append(data)


def test_tables_show_their_texts_as_text():
    table = Table(HOSTILE, ["<i>", "value"], [[HOSTILE, "1"], ["&lt;", "2"]])
    text = Text(table.html())
    assert text.cells == [HOSTILE, "<i>", "value", HOSTILE, "1", "&lt;", "2"]
    assert set(text.tags) == {"table", "caption", "tr", "th", "td"}
    assert text.tags.count("tr") == 3 and text.tags.count("td") == 4


def test_a_table_with_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"expected 2 cells in each row of the table 'sums'.*row 1 has 3"):
        Table("sums", ["a", "b"], [["1", "2"], ["1", "2", "3"]])


def test_without_a_kernel_the_tables_show_beside_the_live_widget():
    bundle, _ = Picture(label=HOSTILE, score=0.5)._repr_mimebundle_()
    assert Text(bundle["text/html"]).cells == [f"about {HOSTILE}", "what", "value", HOSTILE, "0.50"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_widget_without_tables_says_so():
    class Silent(LabWidget):
        pass

    with pytest.raises(NotImplementedError, match="Silent has no tables"):
        Silent().fallback_html()


# Pages --------------------------------------------------------------------------------------------------------------


def recorded(path):
    """What a page holds of its widgets, read without our code."""
    html = path.read_text(encoding="utf-8")
    [data] = re.findall(r'<script type="application/json" id="llmlab-recorded">(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


def test_a_page_holds_every_trait_and_every_byte(tmp_path):
    tour = TokenTour(*load_model(), "The cat was tired")
    tour.n_new, tour.position, tour.layer, tour.scale, tour.view = 2, 1, 3, 1.5, "table"
    path = tour.save_html(tmp_path / "tour.html")
    assert path == tmp_path / "tour.html"
    data = recorded(path)
    [widget] = data["widgets"]
    for name in ("embeddings", "weights", "probabilities"):
        array, expected = widget["arrays"].pop(name), getattr(tour, name)
        values = np.frombuffer(base64.b64decode(array["data"]), array["dtype"]).reshape(array["shape"])
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype
    assert widget["arrays"] == {}
    state = widget["state"]
    assert state.pop("offline") is True and tour.offline is False
    expected = {"prompt", "position", "layer", "n_new", "temperature", "ids", "labels", "token_bytes", "candidates"}
    assert set(state) == expected | {"revision", "scale", "busy", "error", "view"}
    assert state == {name: getattr(tour, name) for name in state}
    assert data["modules"][widget["module"]] == str(tour._esm)


def test_text_of_the_reader_cannot_break_out_of_the_page(tmp_path):
    path = Picture(label=HOSTILE).save_html(tmp_path / "page.html", title=HOSTILE)
    html, [widget] = path.read_text(encoding="utf-8"), recorded(path)["widgets"]
    assert widget["state"]["label"] == HOSTILE
    assert "alert(1)</script>" not in html and "<!--" not in html and "<b>" not in html
    assert html.count("<script") == html.count("</script>") == 2
    assert Text(html).cells.count(HOSTILE) == 3  # the title, the heading, the fallback


def test_a_page_names_nothing_outside_of_itself(tmp_path):
    html = Picture().save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)=(?!"data:)|@import|url\(', html) == []
    assert "default-src 'none'" in html and "connect-src" not in html


def test_a_page_has_a_title_a_fallback_and_says_that_it_is_a_recording(tmp_path):
    picture = Picture(label="a cat", score=0.25)
    html = picture.save_html(tmp_path / "page.HTML").read_text(encoding="utf-8")
    assert "<title>Picture</title>" in html and "<h1>Picture</h1>" in html and "A recording:" in html
    assert f"<noscript>{picture.fallback_html()}</noscript>" in html
    assert [spaced(name) for name in ("TokenTour", "KVCacheStepper", "Bars2", "RoPERotator")] == [
        "Token tour",
        "KV cache stepper",
        "Bars2",
        "RoPE rotator",
    ]


def test_half_a_surrogate_pair_in_a_prompt_still_makes_a_page(tmp_path):
    path = Picture(label="\ud800").save_html(tmp_path / "page.html")
    assert recorded(path)["widgets"][0]["state"]["label"] == "\ud800"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nowhere/page.html", FileNotFoundError, "there is no folder .*nowhere to write page.html into"),
        ("", IsADirectoryError, "is a folder"),
        ("page.txt", ValueError, "expected a path that ends in .html.*page.txt"),
    ],
)
def test_a_bad_path_is_named(tmp_path, name, kind, message):
    with pytest.raises(kind, match=message):
        Picture().save_html(tmp_path / name)


def test_a_trait_that_json_cannot_hold_is_named(tmp_path):
    with pytest.raises(ValueError, match="the trait 'score' of Picture cannot be recorded"):
        Picture(score=float("nan")).save_html(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_one_page_of_all_widgets(tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = tmp_path / "all.html"
    assert main(["widgets", "--no-open", "--output", str(path)]) == 0
    out = capsys.readouterr().out
    assert str(path) in out and out.count("\n") == 1 and opened == []
    html, data, names = path.read_text(encoding="utf-8"), recorded(path), list(gallery.examples())
    assert "TokenTour" in names and len(data["widgets"]) == len(names)
    assert re.findall(r"<h2>(.*?)</h2>", html) == names
    for number in range(len(names)):
        for theme in ("light", "dark"):
            assert html.count(f'<div class="llmlab-{theme}"><div data-llmlab-widget="{number}"></div></div>') == 1
    assert main(["widgets", "--output", str(path)]) == 0
    assert opened == [path.resolve().as_uri()]
    assert main(["widgets", "--no-open", "--output", str(tmp_path / "none" / "all.html")]) == 1
    assert "there is no folder" in capsys.readouterr().err


# The JavaScript and the style ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_javascript_is_small_says_what_it_is_and_imports_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= (12_000 if path.name in ("base.js", "frame.js", "window.js") else 30_000)
    assert text.startswith("/*")
    assert not re.search(r"^\s*import\b", text, re.MULTILINE)
    assert re.findall(r"https?://(?!www\.w3\.org/)\S+", text) == []  # the names of SVG and MathML are no addresses
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)


def test_a_widgets_module_is_its_own_file_between_the_shared_ones():
    text = str(TokenTour._esm)
    parts = ("function h(", "function render(", "function frame(")
    assert [text.count(part) for part in (*parts, "export default")] == [1] * 4
    assert sorted(parts, key=text.index)[1] == "function render("


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_no_widget_declares_a_name_of_the_base_again(path):
    """They are one module text, in which a second declaration is a syntax error."""

    def names(text):
        return set(re.findall(r"^(?:const|let|function|class) (\w+)", text, re.MULTILINE))

    shared = {name: names((FOLDER / name).read_text(encoding="utf-8")) for name in ("base.js", "frame.js", "window.js")}
    every = set().union(*shared.values())
    assert {"h", "TYPES", "frame", "inTheWindow"} <= every and len(every) == sum(map(len, shared.values()))
    if path.name not in (*shared, "export.js"):  # the page's own script is another module
        assert not every & names(path.read_text(encoding="utf-8"))


def test_the_accents_of_widgets_and_plots_are_the_same():
    css = (FOLDER / "base.css").read_text(encoding="utf-8")
    triples = dict(re.findall(r"--llmlab-(\w+): (\d+ \d+ \d+);", css))
    for name in ("query", "key", "value", "attention", "wasted", "masked"):
        assert triples[name] == " ".join(str(int(COLORS[name][at : at + 2], 16)) for at in (1, 3, 5)), name
    canvas = (FOLDER / "kv_cache.js").read_text(encoding="utf-8")  # a canvas reads no CSS variables
    hues = dict(re.findall(r"(\w+): \[(\d+, \d+, \d+)\]", canvas))
    for meaning, name in {"key": "key", "value": "value", "again": "wasted", "kept": "masked"}.items():
        assert hues[meaning].replace(",", "") == triples[name], meaning


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.css")), ids=lambda path: path.name)
def test_styles_touch_nothing_of_jupyterlab(path):
    css = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    if path.name == "export.css":  # the style of our own page
        return
    for selector in re.findall(r"([^{}]+)\{", css):
        if not re.match(r"\s*(@|from$|to$|[\d.]+%)", selector.rstrip()):
            assert all(part.strip().startswith(".llmlab-") for part in selector.split(",")), selector
