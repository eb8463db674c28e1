"""NWB files made here: units, trials and what a file says of its times."""

from datetime import UTC, datetime

import numpy as np
import pytest

SESSION_START = datetime(2020, 1, 1, tzinfo=UTC)
# Forty trials of a second, one every three; four units.
STARTS = 2.0 + 3.0 * np.arange(40)
STOPS = STARTS + 1.0
END = 130.0


def spikes(rate, end=END, seed=0):
    """Times of a Poisson process, to a tenth of a millisecond, but not at 0."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, end, rng.poisson(rate * end)))
    return np.unique(np.round(times, 4) + 3e-5)


UNITS = [spikes(rate, seed=k) for k, rate in enumerate((8, 12, 20, 15))]


def write(
    path,
    units=UNITS,
    starts=STARTS,
    stops=STOPS,
    *,
    columns=None,
    unit_columns=None,
    observed=None,
    invalid=(),
    resolution=None,
    events=None,
    stimuli=(),
    acquired=(),
    described=None,
    told=None,
    electrodes=None,
    table="trials",
):
    """An NWB file; `events` are tables of events by name, `acquired` makes series of the file, `told` are
    descriptions of columns."""
    pynwb = pytest.importorskip("pynwb")
    if events and not hasattr(pynwb, "event"):
        pytest.skip("tables of events came with pynwb 4")
    file = pynwb.NWBFile("a session", "one", SESSION_START)
    for name in unit_columns or {}:
        file.add_unit_column(name, name)
    if electrodes is not None:
        device = file.create_device("probe")
        group = file.create_electrode_group("shank", "", "", device)
        for name in electrodes:
            file.add_electrode_column(name, name)
        for i in range(len(units)):
            row = {name: values[i] for name, values in electrodes.items()}
            file.add_electrode(location="here", group=group, **row)
    if described is not None:
        file.units = pynwb.misc.Units(name="units", description="units")
        file.units.add_column("spike_times", described, index=True)
    for i, times in enumerate(units):
        row = {name: values[i] for name, values in (unit_columns or {}).items()}
        row |= {} if observed is None else {"obs_intervals": observed[i]}
        row |= {} if electrodes is None else {"electrodes": [i]}
        file.add_unit(spike_times=np.asarray(times, float), **row)
    if resolution is not None:
        file.units.resolution = resolution
    trials = pynwb.epoch.TimeIntervals(name=table, description="trials")
    for name, values in (columns or {}).items():
        trials.add_column(name, (told or {}).get(name, name), index=np.ndim(values[0]) > 0)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        row = {name: values[i] for name, values in (columns or {}).items()}
        trials.add_row(start_time=start, stop_time=stop, **row)
    if table == "trials":
        file.trials = trials
    else:
        file.add_time_intervals(trials)
    for start, stop in invalid:
        file.add_invalid_time_interval(start_time=start, stop_time=stop)
    for series in acquired:
        file.add_acquisition(series(file))
    for series in stimuli:
        file.add_stimulus(series)
    for name, times in (events or {}).items():
        found = pynwb.event.EventsTable(name=name, description=name)
        for time in times:
            found.add_event(timestamp=time)
        file.add_events_table(found)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def in_single_precision(path):
    """The file with its spike and trial times in single precision, as other writers than pynwb leave them."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "r+") as file:
        for name in ("units/spike_times", "intervals/trials/start_time", "intervals/trials/stop_time"):
            values, kept = file[name][()], dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, data=values.astype(np.float32)).attrs.update(kept)
    return path


def binned(units=UNITS, starts=STARTS, n_bins=100, width=0.01):
    """Counts (trial, time, unit), by another way than the reader's."""
    edges = np.asarray(starts)[:, None] + width * np.arange(n_bins + 1)
    counts = [[np.histogram(times, row)[0] for row in edges] for times in units]
    return np.moveaxis(np.array(counts), 0, 2)
