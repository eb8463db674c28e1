"""What a figure leaves in a notebook: twice as many pixels as it is wide on the screen, and on the book's own
pages a second picture for telephones, where a row has two panels at most."""

import base64
import io
import math
import struct

from matplotlib.figure import Figure

# The metadata of a notebook's output hold what only the book reads (book/_ext/pictures.py), under this name.
EXTRAS = "lrcore"
# Pixels an inch, of the screen and of the picture.
DENSITY, PIXELS = 110, 220
# In inches, the widest that can be read in the column of a page, and on a telephone.
WIDE, NARROW = 8.2, 5.6


def encode(figure: Figure, kind: str = "png", **options) -> str:
    """The figure as a picture, in base64."""
    made = io.BytesIO()
    quality: dict = {"pil_kwargs": {"quality": 70, "method": 6}} if kind == "webp" else {}
    figure.savefig(made, format=kind, dpi=PIXELS, **quality, **options)
    return base64.b64encode(made.getvalue()).decode()


def bundle(picture: str, **extras) -> tuple[dict, dict]:
    """A picture (in base64) as Jupyter's output, and in its metadata its size on the screen and what the
    book adds to it."""
    width, height = struct.unpack(">II", base64.b64decode(picture[:44])[16:24])  # as each PNG begins
    size = {"width": round(width * DENSITY / PIXELS), "height": round(height * DENSITY / PIXELS)}
    return {"image/png": picture}, {"image/png": size} | ({EXTRAS: extras} if extras else {})


def for_pages(figure: Figure) -> tuple[dict, dict]:
    """A figure as the pages show it: as it is, and laid out for a telephone."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(min(width, WIDE), height)
    wide = encode(figure, bbox_inches="tight")
    extras = {"narrow": encode(figure, "webp", bbox_inches="tight")} if lay_narrow(figure) else {}
    return bundle(wide, **extras)


def lay_narrow(figure: Figure) -> bool:
    """Lay the panels of a wide figure out anew, at most two in a row; False where it is narrow enough.

    Two rows of panels become two columns, so that what stands above each other stands side by side. A larger
    grid, such as a pair plot, keeps its form.

    >>> import matplotlib.pyplot as plt
    >>> figure, _ = plt.subplots(1, 3, figsize=(7.5, 2.5))
    >>> lay_narrow(figure), figure.get_size_inches().tolist()
    (True, [5.6, 5.0])
    """
    width, height = figure.get_size_inches()
    if width <= NARROW + 0.6:
        return False
    panels = [(ax, spec) for ax in figure.axes if (spec := ax.get_subplotspec()) is not None]
    grids = {spec.get_gridspec() for _, spec in panels}
    rows, columns = next(iter(grids)).get_geometry() if len(grids) == 1 else (0, 0)
    spans = any(spec.num1 != spec.num2 for _, spec in panels)
    if columns < 3 or rows > 2 or spans:
        figure.set_size_inches(NARROW, height)
        return True
    placed = {spec.num1: ax for ax, spec in panels}
    grid = figure.add_gridspec(columns if rows == 2 else math.ceil(columns / 2), 2)
    for number, ax in placed.items():
        row, column = divmod(number, columns)
        place = (column, row) if rows == 2 else divmod(column, 2)
        ax.set_subplotspec(grid[place])
        # Axes shared along a row or a column of the wide figure have numbers and a name once; here each has.
        ax.tick_params(labelbottom=True, labelleft=True)
        foot = placed.get((rows - 1) * columns + column, ax)
        if not ax.get_xlabel() and ax.get_shared_x_axes().joined(ax, foot):
            ax.set_xlabel(foot.get_xlabel())
    new = NARROW / 2
    share = min(1.0, 1.1 * new * columns / width)  # lower as it is narrower, but for words and numbers
    figure.set_size_inches(NARROW, height / rows * share * grid.nrows)
    return True


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
