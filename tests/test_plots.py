import matplotlib.pyplot as plt
import pytest

from llmlab import plots


def test_a_shown_figure_is_its_picture_or_its_text():
    figure, axes = plt.subplots()
    plots.probability_bars(axes, ["a", "b"], [0.75, 0.25])
    shown = plots.show(figure, "a 0.75, b 0.25")
    data, metadata = shown._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and data["text/plain"] == repr(shown) == "a 0.75, b 0.25"
    assert metadata["image/png"]["alt"] == "a 0.75, b 0.25"
    assert not plt.fignum_exists(figure.number)


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
