"""What the chapters need to be a book: one scale for all of them, and numbers that the prose can quote."""

import json
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.request import urlopen

SCALES = ("smoke", "book", "full")


def scale(*, smoke, book, full=None):
    """The value for the scale at hand, which the environment variable `LRCORE_SCALE` names; `book` by
    default.

    smoke: seconds a chapter, for tests. book: at most two minutes a chapter on two processor cores. full: the
    paper's sizes, for an accelerator; the same as book where not given.

    **Raises** `ValueError` for another name in `LRCORE_SCALE`.

    >>> scale(smoke=1, book=1)
    1
    """
    name = os.environ.get("LRCORE_SCALE", "book")
    if name not in SCALES:
        # In a notebook the sentence alone, without a traceback.
        one_line = {"_render_traceback_": lambda error: [f"ValueError: {error}"]}
        kind = type("ScaleError", (ValueError,), one_line)
        raise kind(f"LRCORE_SCALE: expected one of {', '.join(SCALES)}, got {name!r}")
    return {"smoke": smoke, "book": book, "full": book if full is None else full}[name]


def glue(name: str, value) -> None:
    """Keep a number, or a text, for the prose of the chapter; without the book's tools, print it.

    >>> import sys; sys.modules["myst_nb"] = None  # as on Colab
    >>> glue("error", 0.25); del sys.modules["myst_nb"]
    error = 0.25
    """
    try:
        from myst_nb import glue as keep
    except ImportError:
        print(f"{name} = {value}")
    else:
        keep(name, value if isinstance(value, str) else float(value), display=False)


class Verdict:
    """Of an answer: true where it is right. It is printed by `check`, so a notebook shows no more of it."""

    def __init__(self, wrong: str):
        self.wrong = wrong

    def __bool__(self) -> bool:
        return not self.wrong

    def _ipython_display_(self) -> None:
        pass


def check(label=None, answer=None) -> Verdict:
    """Say whether the answer to an exercise is right, and if not, what about it is wrong.

    **Arguments**

    - `label`: of the exercise, such as "ex-gain". `answer`: a function, or a number, as the exercise says.

    What is wrong, with the label too, is printed in one line, not raised: a notebook goes on.

    >>> bool(check("ex-gain", lambda overlap, z: z @ overlap))
    ex-gain: not yet. F(z): without the gain: the rate's slope falls as z grows
    False
    """
    from .exercises import judge

    try:
        verdict = Verdict(judge(label, answer))
    except ValueError as error:
        print(error)
        return Verdict(str(error))
    print(f"{label}: not yet. {verdict.wrong}" if verdict.wrong else f"{label}: right")
    return verdict


def results(name: str) -> dict:
    """What a long computation has left in `book/results/<name>.json`: beside the chapter, in the checkout,
    else from the repository on GitHub, at the commit that lrcore was installed from.

    **Raises** `FileNotFoundError` where the file is in none of these.

    >>> results("nothing")
    Traceback (most recent call last):
    FileNotFoundError: nothing.json: expected in results/, in book/results/ of a checkout, ...
    """
    file = f"results/{name}.json"
    for path in (Path(file), Path("book", file), Path(__file__).parents[1] / "book" / file):
        if path.exists():
            return json.loads(path.read_text())
    try:
        origin = json.loads(distribution("lrcore").read_text("direct_url.json") or "{}")
        repository = origin["url"].removesuffix(".git").partition("github.com/")[2]
        address = (
            f"https://raw.githubusercontent.com/{repository}/{origin['vcs_info']['commit_id']}/book/{file}"
        )
        return json.loads(urlopen(address, timeout=20).read())
    except (PackageNotFoundError, KeyError, OSError) as error:
        raise FileNotFoundError(
            f"{name}.json: expected in results/, in book/results/ of a checkout, or in the repository on "
            "GitHub that lrcore was installed from: run the chapter in a clone of the repository"
        ) from error
