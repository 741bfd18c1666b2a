from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from nbconvert import HTMLExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output

from llmlab import load_model, plots


def test_a_shown_figure_is_its_picture_or_its_text():
    figure, axes = plt.subplots()
    plots.probability_bars(axes, ["a", "b"], [0.75, 0.25])
    shown = plots.show(figure, "a 0.75, b 0.25")
    assert repr(shown) == "a 0.75, b 0.25"
    assert not plt.fignum_exists(figure.number)


class Images(HTMLParser):
    """The attributes of a page's images."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.found.append(dict(attributes))


ALT = 'Left of "a" < b & <script>alert(1)</script> stand 3'


def test_every_image_of_an_exported_notebook_has_its_text_alternative():
    figure, _ = plt.subplots()
    shown = plots.show(figure, ALT)
    data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
    cell = new_code_cell("figure", execution_count=1, outputs=[new_output("execute_result", data)])
    for exporter in (HTMLExporter(), HTMLExporter(template_name="classic"), SlidesExporter()):
        page, _ = exporter.from_notebook_node(new_notebook(cells=[cell]))
        [image] = Images(page).found
        assert image["alt"] == ALT and b64decode(image["src"].partition("base64,")[2]) == shown.png


def test_the_same_figure_gives_the_same_bytes():
    pictures = []
    for _ in range(2):
        figure, axes = plt.subplots()
        plots.attention_heatmap(axes, [[1.0, 0.0], [0.25, 0.75]], ["a", "b"])
        pictures.append(plots.show(figure, "attention").png)
    assert pictures[0] == pictures[1]


def test_values_are_written_as_text_and_not_by_color_alone():
    figure, axes = plt.subplots()
    plots.attention_heatmap(axes, [[1.0, 0.0], [0.25, 0.75]], ["a", "b"])
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.25", "0.75"]
    axes.clear()
    plots.traced(axes, [[0.04, 0.5], [-0.2, 1.0]], ["a", "b"])
    assert [text.get_text() for text in axes.texts] == ["50", "100"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]  # layers count from 1
    axes.clear()
    plots.probability_bars(axes, ["x"], [0.5])
    assert [text.get_text() for text in axes.texts] == ["0.500"]
    plt.close(figure)


def test_a_figure_without_a_text_alternative_is_refused():
    figure, _ = plt.subplots()
    with pytest.raises(ValueError, match="text alternative"):
        plots.show(figure, " ")
    plt.close(figure)


def test_labels_make_spaces_visible():
    assert plots.visible(" Paris\n") == "·Paris⏎"


def test_a_token_that_is_no_text_to_be_seen_is_labeled_by_its_bytes():
    """Compared with what Python itself makes of the bytes of each token."""
    _, tokenizer = load_model()
    in_hexadecimal = 0
    for token in tokenizer.vocab:
        data = tokenizer.decode_bytes([token])
        text = data.decode(errors="replace")
        is_text = data.decode(errors="ignore").encode() == data and text.replace("\n", "").isprintable()
        label = plots.token_label(tokenizer, token)
        assert label == (text if is_text else "0x" + data.hex())
        assert plots.visible(label).isprintable()
        in_hexadecimal += not is_text
    assert in_hexadecimal > 100  # the bytes that stand alone


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_notebooks_label_tokens_in_the_one_way(path):
    assert "visible(tokenizer.decode(" not in path.read_text(encoding="utf-8")
