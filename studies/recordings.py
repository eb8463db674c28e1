"""Recordings of other laboratories, from the files that packages ship to `recording.report()` and latents.
Prints what benchmarks/README.md tells, and saves a picture of each report where a folder is named.

    pip install naplib pynapple spikeinterface pynwb h5py
    pip download --no-deps --no-binary :all: pynapple && tar xzf pynapple-*.tar.gz
    python studies/recordings.py pynapple-0.11.4/tests/nwbfilestest [pictures]

naplib and the others need different versions of numpy; of naplib only a file is read.
"""

import importlib.metadata
import importlib.util
import sys
import time
from pathlib import Path

import jax.random as jr
import numpy as np

import lrcore as lr


def shipped(package: str, *parts: str) -> Path:
    """A file that a package has in it; the package is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"{package}: expected it installed, got none: pip install {package}")
    return Path(found.origin).parent.joinpath(*parts)


def head_direction(files: Path):
    """Thalamus and hippocampus of a mouse that explores; trials are 2 s of ten minutes."""
    import pynapple as nap

    session = nap.load_file(files / "neurosuite/pynapplenwb/A2929-200711.nwb")
    wake = session["ry"].time_support
    heading = nap.TsdFrame(
        session["ry"].t, np.stack([np.cos(session["ry"].values), np.sin(session["ry"].values)], axis=1)
    )
    options = {"bin_width": 0.02, "inputs": (heading,)}
    return lr.Recording.from_pynapple(session["units"], wake.split(2.0), **options), 2


def calcium(files: Path):
    """Ten cells under a miniature microscope, 30 frames a second; trials are 20 s."""
    import pynapple as nap

    traces = nap.load_file(files / "inscopix-cnmfe/pynapplenwb/A0634-210127.nwb")["RoiResponseSeries"]
    values = np.asarray(traces.values)
    return lr.Recording(rates=cut(values, 600), bin_width=np.median(np.diff(traces.t))), 2


def speech(files: Path):
    """Ten electrodes on a head that hears ten stories, 100 samples a second; trials are the stories."""
    import h5py

    with h5py.File(shipped("naplib", "io/sample_data/demo_data.mat")) as file:
        stories = [file[one][()] for one in file["out/resp"][:, 0]]
    return lr.Recording(rates=stories, bin_width=0.01), 2


def plane(files: Path):
    """219 regions under a two-photon microscope, ten frames a second; trials are 10 s."""
    import pynapple as nap

    traces = nap.load_file(files / "suite2p/pynapplenwb/2022_08_08.nwb")["Fluorescence"]
    # The file has (region, time) where NWB and pynapple have (time, region); pynwb warns of it.
    return lr.Recording(rates=cut(np.asarray(traces.values).T, 100), bin_width=0.1, drop_constant=True), 3


def plane_turned(files: Path):
    """The same as the file has it, regions for times."""
    import pynapple as nap

    traces = nap.load_file(files / "suite2p/pynapplenwb/2022_08_08.nwb")["Fluorescence"]
    return lr.Recording(rates=cut(np.asarray(traces.values)[:, :100], 20), bin_width=0.1), 1


def sorted_twice(files: Path):
    """Units that spikeinterface simulates, three of them twice, each with a fifth of its spikes left out."""
    from spikeinterface.core import generate

    once = generate.generate_sorting(
        num_units=20, durations=[300.0], firing_rates=6.0, refractory_period_ms=3.0, seed=0
    )
    once = once.select_units(once.unit_ids, renamed_unit_ids=np.arange(20))
    both = generate.inject_some_duplicate_units(once, num=3, max_shift=5, ratio=0.8, seed=0)
    rate = both.get_sampling_frequency()
    seconds = [both.get_unit_spike_train(unit) / rate for unit in both.unit_ids]
    edges = np.arange(0, 30_001) * 0.01
    counts = np.stack([np.histogram(one, edges)[0] for one in seconds], axis=1)
    return lr.Recording(spikes=cut(counts, 200), bin_width=0.01, neurons=both.unit_ids), 2


def table_of_trials(files: Path):
    """A file that pynwb's own test builders make: trials, choices and units, written and read."""
    import tempfile

    from pynwb import NWBHDF5IO
    from pynwb.testing.mock.file import mock_NWBFile

    rng = np.random.default_rng(0)
    file = mock_NWBFile()
    file.add_trial_column("choice", "the side that was chosen")
    for start in np.arange(80) * 1.5:
        file.add_trial(start_time=start, stop_time=start + 1, choice=str(rng.choice(["left", "right"])))
    for rate in rng.uniform(3, 20, 12):
        file.add_unit(spike_times=np.sort(rng.uniform(0, 120, rng.poisson(120 * rate))))
    with tempfile.TemporaryDirectory() as folder:
        with NWBHDF5IO(Path(folder) / "session.nwb", "w") as out:
            out.write(file)
        return lr.Recording.from_nwb(Path(folder) / "session.nwb"), 1


def cut(values, length: int) -> np.ndarray:
    """A continuous signal (time, neuron) in trials of `length` samples; the rest at its end is not kept."""
    trials = len(values) // length
    return values[: trials * length].reshape(trials, length, -1)


def explained(recording, rank) -> str:
    """What latents of a rank explain: bits per spike of held-out neurons from others, or the variance."""
    if recording.rates is None:
        found = lr.latents.heldout.evaluate(
            recording, rank, key=jr.key(0), only=[0, 1], iterations=20, progress=False
        )
        neurons, course = (found.scores[name].mean() for name in ("neurons", "time"))
        return f"{neurons:.3f} bits a spike from other neurons (course in time {course:.3f})"
    z = lr.latents.smooth(recording, rank).z[recording.mask]
    seen = recording.signal[recording.mask]
    design = np.column_stack([z, np.ones(len(z))])
    left = seen - design @ np.linalg.lstsq(design, seen, rcond=None)[0]
    return f"{1 - (left.var(axis=0) / seen.var(axis=0)).mean():.2f} of the variance"


STUDIED = [head_direction, calcium, speech, plane, plane_turned, sorted_twice, table_of_trials]


def main() -> None:
    files = Path(sys.argv[1])
    pictures = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    packages = ("naplib", "pynapple", "spikeinterface", "pynwb", "numpy", "jax")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages), "\n")
    for study in STUDIED:
        start = time.perf_counter()
        recording, rank = study(files)
        report = recording.report()
        read = time.perf_counter() - start
        print(f"{study.__name__}: {study.__doc__.splitlines()[0]}", recording, report, sep="\n")
        print(f"rank {rank}     {explained(recording, rank)}; file to report {read:.1f} s\n", flush=True)
        if pictures is not None:
            lr.plots.use_style()
            lr.plots.recording(report).savefig(pictures / f"{study.__name__}.png", facecolor="white")


if __name__ == "__main__":
    main()
