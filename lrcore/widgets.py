"""Figures that move: a parameter, a slider, and what one sees."""

import itertools
import math
import os
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt

from . import pictures

# A page holds a picture for each setting.
MOST = 60


def explore(draw: Callable, /, *, start: dict | None = None, play: str | None = None, **sliders: Sequence):
    """A figure with a slider for each parameter.

    In a notebook that runs, `draw` is called again whenever a slider moves. The book's pages hold a picture
    for each setting; print, and a notebook that nobody has run, show the one of the start.

    **Arguments**

    - `draw`: a function that draws one figure, of the same size for all values; its arguments have the names
      of the sliders.
    - `sliders`: for each argument its values, in order: numbers or words.
    - `start`: the value that a slider begins with; its first where not given.
    - `play`: the name of the slider that a button moves through, such as a time.

    **Returns** what a notebook shows as the last expression of a cell.

    **Raises** `ValueError` without sliders, for a slider without values or a start that is none of them, for
    more settings than a page holds, and for a name that no slider has.

    >>> def draw(slope):
    ...     _, (ax,) = lr.plots.panels(1)
    ...     ax.plot([0, 1], [0, slope])
    >>> explore(draw, slope=[0.5, 1.0, 2.0], start={"slope": 1.0})
    explore: slope = 0.5, 1, 2 (starts at 1)
    """
    start = {name: list(values)[0] for name, values in sliders.items() if len(values)} | (start or {})
    if not sliders:
        raise ValueError("explore: expected a slider, such as overlap=[0.5, 1.0, 1.5], got none")
    for name in [*start, *([play] if play else [])]:
        if name not in sliders:
            raise ValueError(f"explore: expected the name of a slider ({', '.join(sliders)}), got {name!r}")
    for name, values in sliders.items():
        if not len(values):
            raise ValueError(f"explore: expected values of {name}, such as [0.5, 1.0, 1.5], got none")
        if start[name] not in list(values):
            raise ValueError(f"explore: expected {name} to start at one of its values, got {start[name]!r}")
    settings = math.prod(map(len, sliders.values()))
    if settings > MOST:
        raise ValueError(f"explore: expected at most {MOST} settings, got {settings}: use fewer values")
    return Explore(draw, {name: list(values) for name, values in sliders.items()}, start, play)


class Explore:
    """What `explore` gives a notebook to show."""

    def __init__(self, draw: Callable, sliders: dict[str, list], start: dict, play: str | None):
        self.draw, self.sliders, self.start, self.play = draw, sliders, start, play

    def __repr__(self) -> str:
        parts = [
            f"{name} = {', '.join(map(shown, values))} (starts at {shown(self.start[name])})"
            for name, values in self.sliders.items()
        ]
        return f"explore: {'; '.join(parts)}"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if os.environ.get("LRCORE_PAGES"):
            data, metadata = self.for_pages()
            display(data, metadata=metadata, raw=True)
        else:
            display(self.live())

    def picture(self, kind: str, **values) -> str:
        """What `draw` draws, in base64."""
        plt.close("all")
        self.draw(**values)
        figure = plt.gcf()
        made = pictures.encode(figure, kind)
        plt.close(figure)
        return made

    def for_pages(self) -> tuple[dict, dict]:
        """The picture of the start, and one for each setting."""
        first = self.picture("png", **self.start)
        sliders = [
            {"name": name, "values": list(map(shown, values)), "start": values.index(self.start[name])}
            for name, values in self.sliders.items()
        ]
        settings = itertools.product(*self.sliders.values())
        frames = [self.picture("webp", **dict(zip(self.sliders, v, strict=True))) for v in settings]
        play = list(self.sliders).index(self.play) if self.play else None
        return pictures.bundle(first, explore={"sliders": sliders, "frames": frames, "play": play})

    def live(self):
        """Sliders of ipywidgets, and what is drawn below."""
        import ipywidgets as widgets

        made = {
            name: widgets.SelectionSlider(
                options=[(shown(value), value) for value in values],
                value=self.start[name],
                description=name.replace("_", " "),
                continuous_update=False,
                style={"description_width": "initial"},
            )
            for name, values in self.sliders.items()
        }

        def draw(**values):
            plt.close("all")
            self.draw(**values)
            plt.show()

        rows: list[widgets.Widget] = [*made.values()]
        if self.play:
            button = widgets.Play(min=0, max=len(self.sliders[self.play]) - 1, interval=250)
            widgets.jslink((button, "value"), (made[self.play], "index"))
            rows.insert(0, button)
        return widgets.VBox([*rows, widgets.interactive_output(draw, made)])


def shown(value) -> str:
    """A value as a slider names it.

    >>> shown(0.1 + 0.2), shown("tanh"), shown(20_000)
    ('0.3', 'tanh', '20,000')
    """
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
