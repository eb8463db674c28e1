"""README's Python code runs as it stands, in smoke scale, on a recording of the kind it speaks of."""

import os
import re
import subprocess
import sys

import pytest
from common import ROOT

BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
RECORDING = """
import jax, numpy as np
from lrcore.recording import clicks_session
made = clicks_session(jax.random.key(0), n_trials=60, n_neurons=40).recording
kept = dict(spikes=made.spikes, lengths=made.lengths, externalinputs=made.inputs, times=made.times)
np.savez("recording.npz", **kept, choices=made.choices)
"""


def test_readme_runs(tmp_path):
    if not BLOCKS:
        pytest.skip("README holds no Python code")
    environment = os.environ | {"LRCORE_SCALE": "smoke", "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
    code = "\n".join([RECORDING, *BLOCKS])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
