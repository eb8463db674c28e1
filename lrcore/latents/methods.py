"""What a paper needs of an analysis: a paragraph with its settings, seeds and versions, and a page in one
file.
"""

import html
import io
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from ..maxent import MaximumEntropy
from .fitting import StateSpaceFit

_PACKAGES = ("lrcore", "jax", "numpy")
_WIDE = ' class="wide" tabindex="0"'


def paragraph(
    found: StateSpaceFit, solved: MaximumEntropy, *, seeds: Mapping[str, int], choices: Sequence[str] = ()
) -> str:
    """A methods paragraph: what was recorded, fitted and solved, read off the fits; seeds and versions.

    **Arguments**

    - `found`: the state-space fit. `solved`: the maximum-entropy fit of steps drawn from it.
    - `seeds`: of what is random, by name. `choices`: what else was chosen, a clause each, such as
      `"rank 2 among 1 and 2 by held-out neurons"`.

    >>> import warnings; warnings.simplefilter("ignore")  # so few trials say little of new neurons
    >>> import jax.random as jr
    >>> from lrcore import latents, maxent, recording
    >>> data = recording.clicks_session(jr.key(0), n_trials=30).recording
    >>> found = latents.fit(data, 2, key=jr.key(1), iterations=2, progress=False)
    >>> solved = maxent.fit(found.steps(jr.key(2)), found.embedding())
    >>> paragraph(found, solved, seeds={"fit": 1, "draws": 2})
    'Spikes of 80 neurons in 30 trials of ... s were counted in bins of 10 ms. ...'
    """
    data, model = found.recording, found.model
    seconds, counted = data.lengths * data.bin_width, data.rates is None
    rank, nuisance = model.rank, model.m.shape[1] - model.rank
    lasting = " to ".join(dict.fromkeys(f"{end:.2g}" for end in (seconds.min(), seconds.max())))
    late = f"{_count(data.n_inputs, 'input')} late by {_count(model.lag, 'bin')}"
    late = late if data.n_inputs else "no inputs"
    sentences = [
        f"{'Spikes' if counted else 'Rates'} of {data.n_neurons} neurons in {data.n_trials} trials of "
        f"{lasting} s were {'counted' if counted else 'taken'} in bins of {1000 * data.bin_width:g} ms",
        f"A state-space model ({model.activation} read-out, {'Poisson' if counted else 'Gaussian'} noise) of "
        f"{rank} latent and {nuisance or 'no'} nuisance dimensions, {late}, "
        f"{len(model.features)} random features of the drift and a time constant of "
        f"{data.bin_width / model.alpha:.3g} s was fitted by {len(found.change)} iterations of variational "
        f"EM; the last one moved posterior means by {found.change[-1]:.2g}",
        f"Along {solved.steps.copies} posterior paths of each trial, the maximum-entropy network of "
        f"{solved.activation} neurons (Kim et al. 2026, arXiv:2603.26506) was solved, its drift divided "
        f"among law, network and noise by marginal likelihood; {solved.modes.steps:,.0f} of "
        f"{solved.steps.measured:,} steps count as independent, their noise is {solved.noise:.2g}",
        *([f"Chosen: {'; '.join(choices)}"] if choices else []),
        f"Seeds: {', '.join(f'{name} {seed}' for name, seed in seeds.items())}",
        f"Versions: {', '.join(f'{name} {version(name)}' for name in _PACKAGES)}, Python "
        f"{platform.python_version()}",
    ]
    return ". ".join(sentences) + "."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def page(path: str | os.PathLike, title: str, parts: Mapping) -> Path:
    """Write a page of HTML that needs no other file, and return its path.

    - `parts`: by heading, a matplotlib figure, or anything else, as it prints.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = page(Path(folder, "report.html"), "A session", {"Numbers": "n < 1"})
    ...     "<pre>n &lt; 1</pre>" in made.read_text()
    True
    """
    body = [f"<h1>{html.escape(title)}</h1>"]
    for heading, part in parts.items():
        body.append(f"<h2>{html.escape(heading)}</h2>")
        if hasattr(part, "savefig"):
            picture = io.StringIO()
            part.savefig(picture, format="svg")
            drawn = picture.getvalue()[picture.getvalue().index("<svg") :]
            name = html.escape(heading, quote=True)
            drawn = drawn.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
            body.append(f'<div class="wide" tabindex="0">{drawn}</div>')
        else:
            # Columns stay columns, and scroll where a screen is narrow; sentences wrap.
            widths = [len(line) for line in str(part).splitlines()]
            table = len(widths) > 1 and 40 < max(widths) <= 100
            body.append(f"<pre{_WIDE * table}>{html.escape(str(part))}</pre>")
    style = "body{max-width:60rem;margin:2rem auto;padding:0 1rem;font-family:sans-serif;color:#222;"
    style += "background:#fff}h1,pre{overflow-wrap:anywhere}pre{white-space:pre-wrap}"
    style += "svg{width:100%;min-width:42rem;height:auto}.wide{overflow-x:auto}pre.wide{white-space:pre}"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{html.escape(title)}</title><style>{style}</style>"
    whole = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'
    path = Path(path)
    path.write_text(whole, encoding="utf-8")
    return path
