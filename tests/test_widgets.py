"""Sliders: live where a kernel runs, pictures of each setting where the book is built."""

import base64
import io

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

import lrcore as lr
from lrcore import pictures


def draw(slope, word="a"):
    _, (ax,) = lr.plots.panels(1, width=2.0, height=1.5)
    ax.plot([0, 1], [0, slope])
    ax.set(title=word, ylim=(0, 3))


def pixels(picture, kind):
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)), format=kind)


def test_a_page_holds_a_picture_for_each_setting():
    found = lr.widgets.explore(
        draw, slope=[1.0, 2.0, 3.0], word=["a", "b"], start={"slope": 2.0}, play="word"
    )
    data, metadata = found.for_pages()
    moving = metadata[pictures.EXTRAS]["explore"]
    assert [slider["values"] for slider in moving["sliders"]] == [["1", "2", "3"], ["a", "b"]]
    assert [slider["start"] for slider in moving["sliders"]] == [1, 0]
    assert moving["play"] == 1 and len(moving["frames"]) == 6
    assert len(set(moving["frames"])) == 6
    # The last slider moves fastest, as the script on the page counts; the first picture is its start's.
    first = pixels(data["image/png"], "png")
    size = metadata["image/png"]
    assert first.shape[:2] == (2 * size["height"], 2 * size["width"])
    shapes = {pixels(frame, "webp").shape[:2] for frame in moving["frames"]}
    assert shapes == {first.shape[:2]}
    far = [np.mean(abs(pixels(f, "webp")[..., :3] / 255 - first[..., :3])) for f in moving["frames"]]
    assert np.argmin(far) == 2


def test_a_live_slider_draws_anew(capsys):
    seen = []
    found = lr.widgets.explore(lambda slope: seen.append(slope), slope=[1.0, 2.0], start={"slope": 2.0})
    box = found.live()
    (slider,) = (w for w in box.children if hasattr(w, "options"))
    slider.value = 1.0
    assert seen == [2.0, 1.0]
    assert slider.description == "slope" and [name for name, _ in slider.options] == ["1", "2"]


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({}, "expected a slider"),
        ({"slope": []}, "expected values of slope"),
        ({"slope": [1.0], "start": {"slope": 2.0}}, "slope to start at one of its values, got 2.0"),
        ({"slope": [1.0], "start": {"word": 2.0}}, "the name of a slider .slope., got 'word'"),
        ({"slope": [1.0], "play": "time"}, "the name of a slider .slope., got 'time'"),
        ({"slope": range(61)}, "at most 60 settings, got 61"),
    ],
)
def test_what_cannot_be_moved_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        lr.widgets.explore(draw, **wrong)


@pytest.mark.parametrize(
    "rows, columns, width, size",
    [
        (1, 2, 5.0, None),
        (1, 2, 8.0, (5.6, 2.5)),
        (1, 3, 7.5, (5.6, 5.0)),
        (1, 4, 9.6, (5.6, 5.0)),
        (2, 4, 9.2, (5.6, 5.0)),
        (3, 3, 7.0, (5.6, 2.5)),
    ],
)
def test_a_telephone_sees_two_panels_in_a_row(rows, columns, width, size):
    figure, axes = plt.subplots(rows, columns, figsize=(width, 2.5), sharex=True, squeeze=False)
    for number, ax in enumerate(axes.ravel()):
        ax.set_title(number)
    for ax in axes[-1]:
        ax.set_xlabel("x")
    changed = pictures.lay_narrow(figure)
    assert changed == (size is not None)
    if changed:
        np.testing.assert_allclose(figure.get_size_inches()[0], size[0])
        figure.canvas.draw()
        boxes = [ax.get_window_extent() for ax in axes.ravel()]
        beside = [sum(abs(a.y0 - b.y0) < 1 for b in boxes) for a in boxes]
        assert max(beside) <= (2 if rows < 3 else columns)
        assert not any(a.overlaps(b) for a in boxes for b in boxes if a is not b)
        if rows < 3:
            assert all(ax.get_xlabel() == "x" for ax in axes.ravel())
    plt.close(figure)
