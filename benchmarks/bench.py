"""What a user waits for: `make bench` writes book/results/benchmarks.json, which the book reads, and its
table, benchmarks/table.md.

    python benchmarks/bench.py              # the default device; --small: sizes that take a minute, into
                                            # _build/bench; EPOCHS=100: of the published code
    bash benchmarks/gpu.sh                  # GPU, CPU and every chapter on the GPU, in at most 8 minutes
    python benchmarks/bench.py add FILE     # what ran on another machine, into the same table

Each device, and each chapter, is a process of its own with its own limit of time, so that one that fails or
hangs takes nothing with it. A row that was not reached is missing, and the note says why.
"""

import concurrent.futures
import datetime
import functools
import gzip
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

PACKAGES = "numpy scipy sklearn jax equinox diffrax optax optimistix lineax jaxtyping threadpoolctl"
if missing := [name for name in PACKAGES.split() if importlib.util.find_spec(name) is None]:
    sys.exit(f"{sys.executable}: expected a Python that has {', '.join(missing)}: name another by PYTHON=...")

import others  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SMALL = "--small" in sys.argv
# Figures of a trial run are no figures: they stay out of the book.
OUT = Path(os.environ.get("OUT", ROOT / "_build" / "bench" if SMALL else ROOT / "book" / "results"))
# On a GPU: seconds of all parts together, and of the timings on each device; chapters get what is left.
TOTAL, TIMINGS = 465, 130
# By hand there is no hurry.
PATIENCE = 3600
AT_ONCE = min(6, os.cpu_count() or 1)  # chapters that run side by side
# The longest first; what needs a package that is not there is left out by name.
LONG = (
    "flow_matching",
    "comparing",
    "ten_minutes",
    "maximum_entropy",
    "connector",
    "requires",
    "latent_dynamics",
)
NEEDS = {"comparing": ("ott",)}
SUMMED, PLAIN = "rates X of the same and X^T X", "a plain product of such matrices"


def rows() -> dict:
    """By name, what makes its data and then returns what is timed: a call that takes a key. The last, of
    minutes, runs once.
    """
    import jax
    import jax.random as jr
    import numpy as np

    import lrcore as lr
    from lrcore import modes

    alpha, quiet = lr.systems.ALPHA, {"progress": False}
    scale = 20 if SMALL else 1
    thousand, many, million = 1000 // scale, 40_000 // scale, 1_000_000 // scale
    truth = lr.systems.quadstable()

    @functools.cache
    def network(neurons):
        return truth.sample(jr.key(0), neurons)

    @functools.cache
    def recorded(many=many):
        """Steps of trials of 100, from all over the plane."""
        starts = jr.uniform(jr.key(1), (max(2, many // 100), 2), minval=-2.4, maxval=2.4)
        noisy = {"noise": 0.05, "key": jr.key(2)}
        return lr.steps(network(thousand).simulate(starts, None, alpha, 100, **noisy), alpha=alpha)

    @functools.cache
    def trained_flow():
        samples = truth.sample(jr.key(3), 20_000).m
        return lr.Flow.fit(samples, key=jr.key(4), updates=300, **quiet)[0]

    def connector():
        steps, embedding = recorded(), network(thousand).embedding
        return lambda key: lr.Connector.fit(steps, embedding, key=key, **quiet).maxent.n

    @functools.cache
    def random(rank):
        """Steps of a network of independent weights, and its embedding."""
        m, n = jr.normal(jr.key(7), (2, thousand, rank))
        net = lr.LowRankNetwork(m, 1.5 * m + n)
        starts = 2 * jr.normal(jr.key(8), (max(2, many // 100), rank))
        z = net.simulate(starts, None, alpha, 100, noise=0.05, key=jr.key(9))
        return lr.steps(z, alpha=alpha), net.embedding

    def ranked(rank):
        steps, embedding = random(rank)
        return lambda key: lr.maxent.fit(steps, embedding).n

    def maxent(neurons, many=many):
        steps, embedding = recorded(many), network(neurons).embedding
        return lambda key: lr.maxent.fit(steps, embedding).n

    def summed():
        steps, e = recorded(), np.asarray(network(thousand).embedding.array, float)
        options = {"bias": False, "activation": "tanh", "devices": modes.accelerators()}
        return lambda key: modes.products(e, steps, **options)

    def product():
        steps, e = recorded(), network(thousand).embedding.array
        x = modes.rates(e, steps.z, steps.u, bias=False, activation="tanh")
        if jax.default_backend() == "cpu":
            x = np.asarray(x)
        y = x.copy()  # or numpy would compute only half of the product

        def plain(key):
            with lr.checks.x64():
                return x.T @ y

        return plain

    def trained(seeds):
        z = lr.systems.trajectories(network(thousand))[:: 2 * scale]
        data = lr.Recording(rates=network(thousand).rates(z), bin_width=0.01)
        options = {"alpha": alpha, "seeds": seeds, "epochs": 20} | quiet
        return lambda key: lr.training.on_recording(data, 2, key=key, **options).error

    def space():
        twin = lr.recording.clicks_session(jr.key(0), n_trials=200 // min(scale, 4)).recording
        return lambda key: lr.latents.fit(twin, 2, key=key, iterations=20, **quiet).posterior.mean

    def sampled():
        flow = trained_flow()
        return lambda key: flow.sample(key, million)

    def densities():
        flow, x = trained_flow(), jr.normal(jr.key(5), (million, 2))
        return lambda key: flow.log_prob(x)

    def simulated():
        net, starts = network(thousand), jr.normal(jr.key(6), (million // 10, 2))
        return lambda key: net.simulate(starts, None, alpha, 100)

    same = f"{many:,} steps, {thousand:,} neurons"
    return {
        f"Connector.fit, {same}": connector,
        "maxent.fit of the same": functools.partial(maxent, thousand),
        SUMMED: summed,
        PLAIN: product,
        "LINT, 1 seed, 20 epochs of 200 trials": functools.partial(trained, 1),
        "LINT, 64 seeds, the same": functools.partial(trained, 4 if SMALL else 64),
        f"Flow.sample, {million:,} points": sampled,
        f"Flow.log_prob, {million:,} points": densities,
        "latents.fit of a twin, 200 trials, 20 iterations": space,
        f"simulate, {million // 10:,} trials of 100 steps, {thousand:,} neurons": simulated,
        **{
            f"maxent.fit, {many:,} steps, {n:,} neurons": functools.partial(maxent, n)
            for n in (thousand // 2, 2 * thousand, 4 * thousand)
        },
        **{
            f"maxent.fit, {t:,} steps, {thousand:,} neurons": functools.partial(maxent, thousand, t)
            for t in (many // 4, 4 * many)
        },
        **{f"maxent.fit, {same}, rank {rank}": functools.partial(ranked, rank) for rank in (1, 5, 8)},
        f"maxent.fit, {million:,} steps, {8 * thousand:,} neurons": functools.partial(
            maxent, 8 * thousand, million
        ),
    }


def timings() -> None:
    """Seconds of each row, the first time and again, and how many of the first were compilation."""
    import jax
    import jax.random as jr

    compiling = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiling.append(seconds) if "backend_compile" in name else None
    )
    device = jax.devices()[0]
    machine = {"device": f"{device.device_kind} ({device.platform})", "cores": os.cpu_count()}
    machine |= {"jax": jax.__version__, "python": platform.python_version(), "small": SMALL}
    machine |= {"date": datetime.date.today().isoformat(), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(machine), flush=True)
    for what, imports in (("import lrcore", "lrcore"), ("its imports", "jax, equinox, diffrax, optax")):
        code = f"import time; t = time.process_time(); import {imports}; print(time.process_time() - t)"
        # Compiled to bytecode by the first, as pip leaves a package.
        with tempfile.TemporaryDirectory() as kept:
            own = os.environ | {"PYTHONPYCACHEPREFIX": kept, "PYTHONDONTWRITEBYTECODE": ""}
            command = [sys.executable, "-c", code]
            taken = [float(subprocess.check_output(command, env=own)) for _ in range(3)][1:]
        print(json.dumps({"what": what, "first": taken[0], "again": taken[1], "compiled": 0.0}), flush=True)
    todo = rows()
    for what, prepare in todo.items():
        call, row = prepare(), {"what": what}
        compiling.clear()
        for k, word in enumerate(("first", "again")):
            if word == "again" and what == list(todo)[-1]:
                break
            start = time.perf_counter()
            jax.block_until_ready(call(jr.key(k)))
            row[word] = time.perf_counter() - start
            row.setdefault("compiled", sum(compiling))
        print(json.dumps(row), flush=True)


def first() -> None:
    """Seconds of the first row's first call, alone."""
    import jax
    import jax.random as jr

    call = next(iter(rows().values()))()
    start = time.perf_counter()
    jax.block_until_ready(call(jr.key(0)))
    print(json.dumps(time.perf_counter() - start))


def profile() -> None:
    """How often training by a compiled loop asks for the host: calls of the loop, and copies from the device
    while it runs, as the profiler of jax sees them.
    """
    import jax
    import jax.random as jr

    import lrcore as lr

    samples = lr.systems.quadstable().sample(jr.key(0), 20_000).m

    def fit(k):
        return lr.Flow.fit(samples, key=jr.key(k), updates=300, progress=False)[1]

    fit(0)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(record := fit(1))
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.open(file).read())["traceEvents"]
    copies = sum("MemcpyD2H" in event.get("name", "") for event in events)
    # A call is there twice, the second within the first.
    calls, end = 0, 0.0
    for event in events:
        if event.get("name") == "PjitFunction(_run)" and event["ts"] >= end:
            calls, end = calls + 1, event["ts"] + event["dur"]
    row = {"updates": len(record.losses), "calls": calls, "copies": copies}
    print(json.dumps(row), flush=True)


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
    command = [sys.executable, __file__, *part, *["--small"] * SMALL]
    # What is compiled is one of the figures.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"} | environment
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=max(limit, 1))
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


def timed(platform: str, limit: float) -> dict:
    """The machine, the rows and how they ended, on a platform; "" is the default one."""
    output, ended, _ = run(["time"], limit, **({"JAX_PLATFORMS": platform} if platform else {}))
    machine, *listed = [json.loads(line) for line in output.splitlines() if line.startswith("{")] or [{}]
    return machine | {"rows": {row.pop("what"): row for row in listed}, "ended": ended}


def profiled() -> dict:
    """What `profile` prints, on the default device; empty where it fails."""
    lines = run(["profile"], 60)[0].splitlines()
    return json.loads(lines[-1]) if lines else {}


def sessions() -> dict:
    """A row: the first call of a session with an empty folder for what is compiled, and that of the next."""
    with tempfile.TemporaryDirectory() as kept:
        environment = {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": kept}
        printed = [run(["first"], PATIENCE, **environment)[0] for _ in range(2)]
    seconds = [float(output.splitlines()[-1]) for output in printed if output]
    if len(seconds) < 2:
        return {}
    row = {"first": seconds[0], "again": seconds[1], "compiled": 0.0}
    return {"Connector.fit of a session, and of the next": row}


def chapters(start: float) -> dict:
    """How every chapter's code ended, and its seconds, until the time is up."""
    names = sorted((p.stem for p in ROOT.glob("book/*.ipynb")), key=lambda name: (name not in LONG, name))

    def one(name):
        left = TOTAL - (time.perf_counter() - start)
        for need in ("matplotlib", *NEEDS.get(name, ())):
            if importlib.util.find_spec(need) is None:
                return {"ended": f"left out: it needs {need}", "seconds": 0.0}
        if left < 10:
            return {"ended": "not reached in the time", "seconds": 0.0}
        _, ended, seconds = run(["chapter", f"book/{name}.ipynb"], left)
        return {"ended": ended, "seconds": round(seconds, 1)}

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def keep(**found) -> None:
    """Add columns to the table, or what ran of the chapters."""
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / "benchmarks.json"
    held = json.loads(file.read_text()) if file.exists() else {"command": "make bench"}
    held |= found
    lines = table(held)
    file.write_text(json.dumps(held, indent=1) + "\n")
    where = ROOT / "benchmarks" if OUT == ROOT / "book" / "results" else OUT
    (where / "table.md").write_text(lines + "\n")


def added(file: str) -> dict:
    """What ran on another machine; leaves with a line where the file is another or of a trial run."""
    try:
        found = json.loads(Path(file).read_text())
        columns = {name: found[name] for name in ("gpu", "cpu") if name in found}
        assert columns and found.keys() <= {"command", "gpu", "cpu", "others", "chapters"}
        table(found)
    except OSError as error:
        sys.exit(f"{file}: expected a benchmarks.json, got {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        sys.exit(f"{file}: expected a benchmarks.json that benchmarks/bench.py wrote, got another file")
    for name, column in columns.items():
        if trial := tried(name, column):
            sys.exit(f"{file}: expected figures to keep, got a column '{name}' that {trial}")
    return found


def tried(name: str, column: dict) -> str:
    """Why a column is not one of the book's, if so."""
    if not column.get("rows"):
        return f"has no rows: {column.get('ended', '')}"
    if column["small"]:
        return "has SMALL SIZES, which say nothing"
    return "was run on a machine WITHOUT A GPU" if name == "gpu" and "(cpu)" in column["device"] else ""


def table(held: dict) -> str:
    """The columns side by side: first (of it, compilation) / again, in seconds."""
    columns = {name: held.get(name, {}) for name in ("gpu", "cpu")}
    names = dict.fromkeys(what for column in columns.values() for what in column.get("rows", {}))
    lines = ["| seconds: first (compiling) / again | GPU | CPU |", "|---|---|---|"]
    for what in names:
        cells = [cell(column.get("rows", {}).get(what)) for column in columns.values()]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    for name, column in columns.items():
        if not column.get("rows"):
            why = f": {column['ended']}" if column.get("ended") else ""
            lines.append(f"\n{name.upper()}: not run yet{why}.")
            continue
        trial = tried(name, column)
        said = ", ".join(f"{key} {column[key]}" for key in ("cores", "load", "jax", "python", "date"))
        words = f" A trial run: it {trial}." if trial else ""
        lines.append(f"\n{name.upper()}: {column['device']}; {said}.{words} {column['ended']}".rstrip())
        if PLAIN in column["rows"]:
            plain, summed = (column["rows"][what]["again"] for what in (PLAIN, SUMMED))
            lines.append(f"A plain product takes {plain / summed:.0%} of the time of X^T X with its rates.")
        if traced := column.get("profile"):
            lines.append(
                f"Flow.fit of {traced['updates']} updates calls {traced['calls']} compiled loops and copies "
                f"{traced['copies']} times from the device."
            )
    if "others" in held:
        lines += ["", others.table(held["others"])]
    if ran := held.get("chapters"):
        bad = {name: one["ended"] for name, one in ran.items() if one["ended"]}
        where = "on the GPU" if "(cpu)" not in columns["gpu"].get("device", "(cpu)") else "on the CPU"
        lines.append(f"\nChapters {where}: {len(ran) - len(bad)} of {len(ran)} ran to their end.")
        lines += [f"- {name}: {why}" for name, why in bad.items()]
    return "\n".join(lines)


def cell(row: dict | None) -> str:
    if not row:
        return ""
    again = f" / {row['again']:.2f}" if "again" in row else ""
    return f"{row['first']:.2f} ({row['compiled']:.1f}){again}"


def without_tqdm() -> None:
    """Progress bars are for those who wait: where tqdm is missing, a stand-in that shows none."""
    if importlib.util.find_spec("tqdm") is None:

        class Bar:
            def __init__(self, items=(), **options):
                self.items = items

            def __iter__(self):
                return iter(self.items)

            def update(self, *_, **__):
                pass

            set_postfix = close = update

        sys.modules["tqdm"] = types.SimpleNamespace(tqdm=Bar)


def main() -> None:
    start = time.perf_counter()
    if "gpu" in sys.argv:
        keep(gpu=timed("", TIMINGS) | {"profile": profiled()})
        keep(cpu=timed("cpu", TIMINGS))
        # A twentieth of the authors' epochs: one is like another.
        keep(others=others.beside(small=SMALL, epochs=50, limit=40, fetch=False))
        keep(chapters=chapters(start))
    elif "add" in sys.argv:
        keep(**added(sys.argv[-1]))
    else:
        found = timed("", PATIENCE) | {"profile": profiled()}
        found["rows"] |= sessions()
        if not found["rows"]:
            sys.exit(f"nothing was timed: {found['ended']}")
        keep(**{"cpu" if "(cpu)" in found.get("device", "(cpu)") else "gpu": found})
        epochs = int(os.environ.get("EPOCHS", others.EPOCHS))
        keep(others=others.beside(small=SMALL, epochs=epochs))
    print(table(json.loads((OUT / "benchmarks.json").read_text())))


if __name__ == "__main__":
    without_tqdm()
    if "time" in sys.argv:
        timings()
    elif "profile" in sys.argv:
        profile()
    elif "first" in sys.argv:
        first()
    elif "chapter" in sys.argv:
        chapter(sys.argv[sys.argv.index("chapter") + 1])
    else:
        main()
