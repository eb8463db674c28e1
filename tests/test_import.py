"""`import lrcore` is quick: little beyond the libraries it is built on."""

import subprocess
import sys

SLOW = ("matplotlib", "sklearn", "ott", "scipy.stats", "scipy.io", "pandas")


def _seconds(what: str) -> float:
    code = f"import time; start = time.perf_counter(); import {what}; print(time.perf_counter() - start)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(7)
    ]
    return min(float(run.stdout) for run in runs)


def test_import_adds_less_than_a_third():
    ours, theirs = _seconds("lrcore"), _seconds("jax, equinox, diffrax, optax")
    assert ours <= 1.3 * theirs, f"import lrcore takes {ours:.2f} s, its libraries {theirs:.2f} s"


def test_import_leaves_the_slow_ones_for_later():
    code = f"import sys, lrcore; print([name for name in {SLOW!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
