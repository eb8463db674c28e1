"""`import lrcore` is quick, and its modules import each other one way: wings the core, the core no wing."""

import ast
import graphlib
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import lrcore as lr

SLOW = ("matplotlib", "sklearn", "ott", "scipy.stats", "scipy.io", "pandas")


def _seconds(what: str, compiled) -> float:
    # The processor's time, not the clock's: what else runs on the machine is not ours. Compiled, as pip
    # installs it.
    code = f"import time; start = time.process_time(); import {what}; print(time.process_time() - start)"
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(run.stdout)


@pytest.mark.slow
def test_import_adds_less_than_a_fifth(tmp_path):
    # Taken in turns, so that a machine that slows down slows both; the first compiles.
    both = ("lrcore", "jax, equinox, diffrax, optax")
    runs = [[_seconds(what, tmp_path) for what in both] for _ in range(5)]
    ours, theirs = (min(run[which] for run in runs) for which in (0, 1))
    assert ours <= 1.2 * theirs, f"import lrcore takes {ours:.2f} s, its libraries {theirs:.2f} s"


def test_import_leaves_the_slow_ones_for_later():
    code = f"import sys, lrcore; print([name for name in {SLOW!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- the house: who imports whom

HOUSE = Path(lr.__file__).parent
WINGS = {
    "recording": set(),
    "latents": {"recording"},
    "training": {"recording"},
    "exercises": {"recording"},
}
# Figures and exercises are of whatever there is; so no other module needs these.
LAST = {"lrcore.plots", "lrcore.book", "lrcore.widgets"}


def _name(file: Path) -> str:
    """`lrcore.x` of lrcore/x.py, `lrcore.wing` of lrcore/wing/__init__.py."""
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(file): file for file in sorted(HOUSE.rglob("*.py"))}


def _imports(name: str, source: str, package: bool) -> set[str]:
    """Modules of lrcore that a module imports, within functions as well.

    A name that is taken from a package is the module of that name, or else the package.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "lrcore"}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = name.split(".")[: len(name.split(".")) - node.level + package]
                base = ".".join([*up, base]).rstrip(".")
            if base.split(".")[0] == "lrcore":
                inner = {f"{base}.{alias.name}" for alias in node.names}
                found |= {one if one in FILES else base for one in inner}
    return found - {name}


IMPORTS = {name: _imports(name, file.read_text(), file.stem == "__init__") for name, file in FILES.items()}


def _wing(name: str) -> str | None:
    """The wing that a module stands in; None in the core."""
    first = (name.split(".") + [""])[1]
    return first if first in WINGS else None


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("lrcore.flow", "from . import checks, optimize", {"lrcore.checks", "lrcore.optimize"}),
        ("lrcore.flow", "from .checks import floats", {"lrcore.checks"}),
        ("lrcore.flow", "import lrcore.plots", {"lrcore.plots"}),
        ("lrcore.flow", "from lrcore.recording import Recording", {"lrcore.recording"}),
        ("lrcore.flow", "def f():\n    from .latents import smoother", {"lrcore.latents.smoother"}),
        ("lrcore.flow", "import jax\nfrom numpy import array", set()),
        (
            "lrcore.latents.heldout",
            "from .. import checks\nfrom ..steps import steps",
            {"lrcore.checks", "lrcore.steps"},
        ),
        ("lrcore.latents.heldout", "from . import fitting", {"lrcore.latents.fitting"}),
        ("lrcore.latents", "from .factors import smooth", {"lrcore.latents.factors"}),
    ],
)
def test_imports_are_seen(name, source, found):
    assert _imports(name, source, FILES[name].stem == "__init__") == found


def test_every_file_is_seen():
    found = {module.name for module in pkgutil.walk_packages(lr.__path__, "lrcore.")}
    assert found | {"lrcore"} == set(FILES)
    assert {_wing(name) for name in FILES} == {None, *WINGS}


@pytest.mark.parametrize("name", [name for name in FILES if _wing(name) is None and name != "lrcore"])
def test_the_core_imports_no_wing(name):
    allowed = set(WINGS) if name in LAST else set()
    assert {_wing(other) for other in IMPORTS[name]} - {None} <= allowed
    # Nor itself by its outside, which imports everything.
    assert "lrcore" not in IMPORTS[name]


@pytest.mark.parametrize("wing", WINGS)
def test_wings_import_the_core_and_each_other_one_way(wing):
    mine = [name for name in FILES if _wing(name) == wing]
    assert mine
    others = {_wing(other) for name in mine for other in IMPORTS[name]} - {None, wing}
    assert others <= WINGS[wing]
    assert not any("lrcore" in IMPORTS[name] for name in mine)


def test_figures_and_exercises_come_last():
    assert not any(IMPORTS[name] & LAST for name in FILES.keys() - {"lrcore"})


LISTS = {name for name, file in FILES.items() if file.stem == "__init__"}


def _needs(name: str) -> set[str]:
    """Files that a module imports; of another wing's list of names all that the list imports."""
    found = IMPORTS[name] - LISTS
    for wing in IMPORTS[name] & LISTS - {"lrcore"}:
        if not name.startswith(f"{wing}."):
            found |= IMPORTS[wing] - LISTS
    return found


def test_there_is_no_circle():
    """Among all files but the lists of names that the packages are."""
    order = list(
        graphlib.TopologicalSorter({name: _needs(name) for name in FILES.keys() - LISTS}).static_order()
    )
    assert set(order) == FILES.keys() - LISTS
    names = ("checks", "network", "connector", "perturb", "spectra", "null_space")
    places = [order.index(f"lrcore.{name}") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("steps", "lrcore.steps"),
        ("sweep", "lrcore.sweep"),
        ("clicks_session", "lrcore.recording.clicks_session"),
        ("from_rates", "lrcore.latents.from_rates"),
    ],
)
def test_functions_that_stand_before_their_modules(name, module):
    """`lr.steps` is the function; its module is reached by importing from it."""
    package = importlib.import_module(module.rpartition(".")[0])
    function = getattr(package, name)
    assert callable(function) and function is getattr(importlib.import_module(module), name)
    assert importlib.import_module(module).__name__ == module


PUBLIC = {
    lr: "Connector ConnectivityDistribution Embedding Flow GaussianMixture LowRankNetwork Recording Steps "
    "belief book cell_types clusters compare dale design evidence flowfield gauge identifiability latents "
    "load maxent null_space_partner optimize perturb plots population recording save steps sweep systems "
    "tails training widgets",
    lr.recording: "NOISE RatSession Recording Session clicks_session find_rat_session rat_or_twin "
    "rat_session registry",
    lr.latents: "Latents StateSpace StateSpaceFit baseline fit from_rates halves heldout infer smooth "
    "surrogates white_factors",
    lr.training: "Trained on_recording on_task tasks",
}


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)
def test_public_names(package):
    """What the book and its readers call by; plots come when they are asked for."""
    assert not [name for name in PUBLIC[package].split() if not hasattr(package, name)]
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'lint'"):
        _ = package.lint
