"""`import lrcore` is quick: little beyond the libraries it is built on."""

import subprocess
import sys

SLOW = ("matplotlib", "sklearn", "ott", "scipy.stats", "scipy.io", "pandas")


def _seconds(what: str) -> float:
    # The processor's time, not the clock's: what else runs on the machine is not ours.
    code = f"import time; start = time.process_time(); import {what}; print(time.process_time() - start)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def test_import_adds_less_than_a_third():
    # Taken in turns, so that a machine that slows down slows both.
    runs = [(_seconds("lrcore"), _seconds("jax, equinox, diffrax, optax")) for _ in range(4)]
    ours, theirs = (min(run[which] for run in runs) for which in (0, 1))
    assert ours <= 1.3 * theirs, f"import lrcore takes {ours:.2f} s, its libraries {theirs:.2f} s"


def test_import_leaves_the_slow_ones_for_later():
    code = f"import sys, lrcore; print([name for name in {SLOW!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
