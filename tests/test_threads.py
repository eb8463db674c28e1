"""Small sums run on one thread, and what comes after has its threads back."""

import os
import subprocess
import sys

IN_A_FRESH_PROCESS = """
from threadpoolctl import threadpool_info
from lrcore import threads

def counts():
    return {one["filepath"]: one["num_threads"] for one in threadpool_info()}

@threads.one("sklearn.mixture")
def inside():
    return counts()

limited, after = inside(), counts()
assert len(limited) > 1 and set(limited.values()) == {1}, limited
assert after.keys() == limited.keys() and max(after.values()) == 2, after
"""


def test_libraries_that_a_function_loads_are_limited_too():
    env = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
