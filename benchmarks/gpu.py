"""The parts of benchmarks/gpu.sh: timings on each device, every chapter on the GPU, and the table of both.

Each part is a process of its own with its own limit of time, so that one that fails or hangs takes nothing
with it. `python benchmarks/gpu.py time` and `python benchmarks/gpu.py chapter book/x.ipynb` are such parts.
"""

import concurrent.futures
import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(os.environ.get("OUT", ROOT / "_build" / "gpu"))
# Seconds of all parts together, and of the timings on each device; chapters get what is left.
TOTAL, TIMINGS = 465, 110
AT_ONCE = 6  # chapters that run side by side
# The longest first; what needs a package that is not there is left out by name.
LONG = ("flow_matching", "comparing", "ten_minutes", "maximum_entropy", "requires", "latent_dynamics")
NEEDS = {"comparing": "ott"}


def _without_tqdm() -> None:
    """Progress bars are for those who wait: where tqdm is missing, a stand-in that shows none."""
    try:
        import tqdm  # noqa: F401
    except ImportError:

        class Bar:
            def __init__(self, items=(), **options):
                self.items = items

            def __iter__(self):
                return iter(self.items)

            def update(self, *_, **__):
                pass

            set_postfix = close = update

        sys.modules["tqdm"] = types.SimpleNamespace(tqdm=Bar)


def timings() -> None:
    """Seconds of each computation, the first time and again, and how many of the first were compilation."""
    import jax
    import jax.random as jr

    import lrcore as lr

    alpha, compiling = lr.systems.ALPHA, []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiling.append(seconds) if "compile" in name else None
    )
    network = lr.systems.quadstable().sample(jr.key(0), 1000)
    steps = lr.steps(lr.systems.trajectories(network), alpha=alpha)
    trials = lr.systems.trajectories(network)[::2]
    rates = lr.Recording(rates=network.rates(trials), bin_width=0.01)
    twin = lr.recording.clicks_session(jr.key(0), n_trials=200).recording
    quiet = {"progress": False}

    def trained(seeds, key):
        return lr.training.on_recording(rates, 2, alpha=alpha, key=key, seeds=seeds, epochs=20, **quiet).error

    todo = {
        "maxent.fit, 400 x 100 steps, 1,000 neurons": lambda key: lr.maxent.fit(steps, network.embedding).n,
        "Connector.fit of the same": lambda key: (
            lr.Connector.fit(steps, network.embedding, key=key, **quiet).maxent.n
        ),
        "LINT, 1 seed, 20 epochs of 200 trials": lambda key: trained(1, key),
        "LINT, 20 seeds, the same": lambda key: trained(20, key),
        "latents.fit of a twin, 200 trials, 20 iterations": lambda key: (
            lr.latents.fit(twin, 2, key=key, iterations=20, **quiet).posterior.mean
        ),
    }
    device = jax.devices()[0]
    print(
        json.dumps({"device": f"{device.device_kind} ({device.platform})", "jax": jax.__version__}),
        flush=True,
    )
    for name, call in todo.items():
        compiling.clear()
        seconds = []
        for k in range(2):
            start = time.perf_counter()
            jax.block_until_ready(call(jr.key(k)))
            seconds.append(time.perf_counter() - start)
            compiled = sum(compiling) if k == 0 else compiled
        print(
            json.dumps({"what": name, "first": seconds[0], "again": seconds[1], "compiled": compiled}),
            flush=True,
        )


def chapter(notebook: str) -> None:
    """The code of a chapter, without its set-up cell; a cell that is meant to fail may."""
    import matplotlib.pyplot as plt

    os.chdir(ROOT / "book")
    own = {"__name__": "__main__"}
    for cell in json.loads((ROOT / notebook).read_text())["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] != "code" or "remove-cell" in tags:
            continue
        try:
            exec(compile("".join(cell["source"]), notebook, "exec"), own)
        except Exception:
            if "raises-exception" not in tags:
                raise
        plt.close("all")


def run(part: list[str], limit: float, **environment: str) -> tuple[str, str, float]:
    """Output of a part, how it ended, and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, __file__, *part]
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=max(limit, 1)
        )
        output = done.stdout
        # jax ends its tracebacks with a note of its own; the cause stands before it.
        said = [
            line.strip()
            for line in done.stderr.splitlines()
            if re.match(r"\s*[\w.]*(Error|Exception)\b", line)
        ]
        ended = "" if done.returncode == 0 else " | ".join(said[-2:]) or "failed"
    except subprocess.TimeoutExpired as error:
        output, ended = (error.stdout or b"").decode(), f"stopped after {limit:.0f} s"
    return output, ended, time.perf_counter() - start


def main() -> None:
    start = time.perf_counter()
    found = {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "timings": {},
        "chapters": {},
    }

    def keep() -> None:
        (OUT / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")

    for name, platform in (("default", ""), ("cpu", "cpu")):
        output, ended, _ = run(["time"], TIMINGS, **({"JAX_PLATFORMS": platform} if platform else {}))
        rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        found["timings"][name] = {"rows": rows, "ended": ended}
        keep()
    names = sorted((p.stem for p in ROOT.glob("book/*.ipynb")), key=lambda name: (name not in LONG, name))
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:

        def one(name):
            left = TOTAL - (time.perf_counter() - start)
            need = NEEDS.get(name)
            if need and importlib.util.find_spec(need) is None:
                return name, (None, f"left out: it needs {need}", 0.0)
            if left < 10:
                return name, (None, "not reached in the time", 0.0)
            return name, run(["chapter", f"book/{name}.ipynb"], left)

        for name, (_, ended, seconds) in pool.map(one, names):
            found["chapters"][name] = {"ended": ended, "seconds": round(seconds, 1)}
            keep()
    print(table(found))


def table(found: dict) -> str:
    """The rows for benchmarks/README.md."""
    first = {name: (part["rows"] or [{}])[0] for name, part in found["timings"].items()}
    by_name = {
        name: {row["what"]: row for row in part["rows"][1:]} for name, part in found["timings"].items()
    }
    lines = [
        f"{found['date']}, {first['default'].get('device', 'no device')}, {found['cores']} CPU cores, "
        f"jax {first['default'].get('jax', '')}",
        "",
        "| what | device: first (of it compilation) / again | CPU: first (of it compilation) / again |",
        "|---|---|---|",
    ]
    for what in by_name["cpu"] | by_name["default"]:
        cells = [
            f"{row['first']:.1f} s ({row['compiled']:.1f}) / {row['again']:.2f} s" if row else "not reached"
            for row in (by_name[name].get(what) for name in ("default", "cpu"))
        ]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    lines += [
        f"timings on {name}: {part['ended']}" for name, part in found["timings"].items() if part["ended"]
    ]
    bad = {name: one["ended"] for name, one in found["chapters"].items() if one["ended"]}
    lines += [
        "",
        f"chapters: {len(found['chapters']) - len(bad)} of {len(found['chapters'])} ran to their end",
    ]
    lines += [f"- {name}: {why}" for name, why in bad.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    _without_tqdm()
    if sys.argv[1:2] == ["time"]:
        timings()
    elif sys.argv[1:2] == ["chapter"]:
        chapter(sys.argv[2])
    else:
        OUT.mkdir(parents=True, exist_ok=True)
        main()
