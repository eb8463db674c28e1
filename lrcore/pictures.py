"""What a figure leaves in a notebook: twice as many pixels as it is wide on the screen, and on the book's own
pages a second picture for telephones, where a row has two panels at most."""

import base64
import io
import json
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# A notebook's output may hold what only the book reads (book/_ext/pictures.py), under this name.
EXTRAS = "application/vnd.lrcore+json"
# Pixels an inch, of the screen and of the picture.
DENSITY, PIXELS = 110, 220
# A wider figure would be too small to read on a telephone, which shows some 3.2 inches of it.
NARROW = 5.6


def encode(figure: Figure, kind: str = "png", **options) -> str:
    """The figure as a picture, in base64."""
    made = io.BytesIO()
    quality = {"pil_kwargs": {"quality": 75}} if kind == "webp" else {}
    figure.savefig(made, format=kind, dpi=PIXELS, **quality, **options)
    return base64.b64encode(made.getvalue()).decode()


def bundle(picture: str, width: float, height: float, **extras) -> tuple[dict, dict]:
    """A picture (in base64, its size in inches) and what the book adds to it, as Jupyter's output and its
    metadata."""
    size = {"width": round(width * DENSITY), "height": round(height * DENSITY)}
    data = {"image/png": picture} | ({EXTRAS: json.dumps(extras)} if extras else {})
    return data, {"image/png": size}


def for_pages(figure: Figure) -> tuple[dict, dict]:
    """A figure as the pages show it: as it is, and laid out for a telephone."""
    wide = encode(figure, bbox_inches="tight")
    size = figure.get_size_inches()
    extras = {"narrow": encode(figure, "webp", bbox_inches="tight")} if lay_narrow(figure) else {}
    return bundle(wide, *size, **extras)


def lay_narrow(figure: Figure) -> bool:
    """Lay the panels of a wide figure out anew, at most two in a row; False where it is narrow enough.

    Two rows of panels become two columns, so that what stands above each other stands side by side. A larger
    grid, such as a pair plot, keeps its form.

    >>> figure, _ = plt.subplots(1, 3, figsize=(7.5, 2.5))
    >>> lay_narrow(figure), figure.get_size_inches().tolist()
    (True, [5.6, 5.0])
    """
    width, height = figure.get_size_inches()
    if width <= NARROW + 0.6:
        return False
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    grids = {ax.get_subplotspec().get_gridspec() for ax in panels}  # type: ignore[union-attr]
    rows, columns = next(iter(grids)).get_geometry() if len(grids) == 1 else (0, 0)
    spans = any(ax.get_subplotspec().num1 != ax.get_subplotspec().num2 for ax in panels)  # type: ignore
    if columns < 3 or rows > 2 or spans:
        figure.set_size_inches(NARROW, height)
        return True
    below = [(ax, lowest(ax, panels, rows, columns)) for ax in panels]
    grid = figure.add_gridspec(columns if rows == 2 else math.ceil(columns / 2), 2)
    for ax, last in below:
        spec = ax.get_subplotspec()
        assert spec is not None
        row, column = divmod(spec.num1, columns)
        place = (column, row) if rows == 2 else divmod(column, 2)
        ax.set_subplotspec(grid[place])
        # Axes shared along a row or a column of the wide figure show their numbers once; here each does.
        ax.tick_params(labelbottom=True, labelleft=True)
        if not ax.get_xlabel():
            ax.set_xlabel(last.get_xlabel())
    new = NARROW / 2
    share = min(1.0, 1.1 * new * columns / width)  # lower as it is narrower, but for words and numbers
    figure.set_size_inches(NARROW, height / rows * share * grid.nrows)
    return True


def lowest(ax: Axes, panels: list[Axes], rows: int, columns: int) -> Axes:
    """The panel at the foot of a panel's column, which has the label of a shared axis."""
    numbers = {panel.get_subplotspec().num1: panel for panel in panels}  # type: ignore[union-attr]
    column = ax.get_subplotspec().num1 % columns  # type: ignore[union-attr]
    foot = numbers.get((rows - 1) * columns + column, ax)
    return foot if ax.get_shared_x_axes().joined(ax, foot) else ax


def register(pages: bool) -> None:
    """Show figures of this notebook with two pixels for one; on the book's pages, with what these add."""
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return
    set_matplotlib_formats("retina")
    if pages:
        show = shell.display_formatter
        show.formatters["image/png"].pop(Figure)  # which would come before the other
        show.mimebundle_formatter.for_type(Figure, for_pages)
