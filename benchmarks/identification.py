"""What is recovered of known laws, outside the four reference systems: `make identification` prints the
tables of benchmarks/README.md.

    python benchmarks/identification.py [g] [spread] [bands] [ranks] [population]
"""

import sys
import time
import warnings

import jax.random as jr
import numpy as np
from scipy import stats
from scipy.special import logsumexp

import lrcore as lr
from lrcore.activation import resolve
from lrcore.network import population_rates

ALPHA = 0.1
# name: activation, rank, neurons, what else. Three seeds of each.
KINDS = {
    **{
        f"tanh, rank {rank}, {n} neurons": ("tanh", rank, n, {})
        for rank in (1, 2, 3, 5, 8)
        for n in (500, 1000)
    },
    "tanh, biases, 2 inputs": ("tanh", 2, 500, {"bias": 0.6, "inputs": 2}),
    "the same, noise 0.3": ("tanh", 2, 500, {"bias": 0.6, "inputs": 2, "noise": 0.3}),
    "tanh, noise 0.1": ("tanh", 2, 500, {"noise": 0.1}),
    "softplus": ("softplus", 2, 500, {}),
    "softplus, biases, 2 inputs": ("softplus", 2, 500, {"bias": 0.6, "inputs": 2}),
    "relu": ("relu", 2, 500, {}),
    "relu, biases, 2 inputs": ("relu", 2, 500, {"bias": 0.6, "inputs": 2}),
    "relu, rank 3, biases": ("relu", 3, 500, {"bias": 0.6}),
    "sigmoid": ("sigmoid", 2, 500, {}),
    "sigmoid, biases, 2 inputs": ("sigmoid", 2, 500, {"bias": 0.6, "inputs": 2}),
    "exp": ("exp", 2, 500, {}),
    "exp, biases, 1 input": ("exp", 2, 500, {"bias": 0.3, "inputs": 1}),
    "tanh, Laplace m, rank 3": ("tanh", 3, 500, {"laplace": True}),
    "tanh, 20 neurons": ("tanh", 2, 20, {}),
    "tanh, 50 neurons": ("tanh", 2, 50, {}),
    "tanh, 200 neurons": ("tanh", 2, 200, {}),
    "tanh, 10 trials": ("tanh", 2, 500, {"trials": 10}),
}


class Known:
    """A law with g(e) = C m + c, drawn networks of it, and trajectories with noise in every step."""

    def __init__(
        self,
        activation,
        rank,
        neurons,
        *,
        inputs=0,
        bias=0.0,
        noise=0.0,
        trials=80,
        laplace=False,
        spread="normal",
        sigma=1.0,
        seed=0,
    ):
        self.activation, self.rank, self.inputs, self.bias = activation, rank, inputs, bias
        self.rng, self.laplace = np.random.default_rng(seed), laplace
        turn = np.linalg.qr(self.rng.normal(size=(rank, rank)))[0]
        size = {"tanh": 1.0, "exp": 0.25}.get(activation, 0.5)
        self.gain = size * (1.3 * np.eye(rank) + 0.5 * (turn - turn.T))
        self.embedding = self.draw(neurons)
        xi = {
            "normal": lambda s: self.rng.normal(size=s),
            "split": lambda s: self.rng.choice((-1.0, 1.0), s),
            "student": lambda s: self.rng.standard_t(5, s) * np.sqrt(3 / 5),
        }[spread]((neurons, rank))
        self.n = self.g(self.embedding) + sigma * xi
        phi = resolve(activation)
        e = np.asarray(self.embedding.array, float)
        u = np.repeat(self.rng.normal(size=(trials, 8, inputs)), 8, axis=1)[:, :60]
        z = np.empty((trials, 60, rank))
        z[:, 0] = (0.7 if activation == "exp" else 1.4) * self.rng.normal(size=(trials, rank))
        with lr.checks.x64():
            for t in range(59):
                rates = np.asarray(population_rates(e, z[:, t], u[:, t], bias=bool(bias), phi=phi))
                drift = rates @ self.n / neurons + noise * self.rng.normal(size=(trials, rank))
                z[:, t + 1] = z[:, t] + ALPHA * (drift - z[:, t])
        self.steps = lr.steps(z, alpha=ALPHA, inputs=u if inputs else None)

    def draw(self, neurons):
        shape, law = (neurons, self.rank), self.rng.laplace if self.laplace else self.rng.normal
        m = law(size=shape) * (np.sqrt(0.5) if self.laplace else 1.0)
        m, small = (0.6 * m, 0.3) if self.activation == "exp" else (m, 1.0)
        b = small * self.rng.normal(size=(neurons, self.inputs)) if self.inputs else None
        d = self.bias * self.rng.normal(size=neurons) if self.bias else None
        return lr.Embedding(m, b, d)

    def g(self, embedding):
        return np.asarray(embedding.m, float) @ self.gain + (0.0 if self.activation == "tanh" else 0.3)

    def rates(self, embedding, z, u):
        e, bias = np.asarray(embedding.array, float), embedding.d is not None
        with lr.checks.x64():
            return np.asarray(population_rates(e, z, u, bias=bias, phi=resolve(self.activation)))

    def best_of_path(self, fresh):
        """The least error of g at new neurons among 53 ridges, which nobody could choose without g."""
        x = self.rates(self.embedding, self.steps.z, self.steps.u)
        new, g = self.rates(fresh, self.steps.z, self.steps.u), self.g(fresh)
        values, vectors = np.linalg.eigh(x.T @ x)
        kept = values > 1e-15 * values[-1]
        values, vectors = values[kept], vectors[:, kept]
        along = vectors.T @ (x.T @ self.steps.y)
        kernel = new.T @ (x @ vectors)
        ridges = values[-1] * np.logspace(-13, 0, 53)
        n = x.shape[1]
        errors = [np.mean((n * kernel @ (along / (values * (values + r))[:, None]) - g) ** 2) for r in ridges]
        return min(errors)


def table_of_g():
    print("| system | power of g | best of the path | found | over the best | spread (1) | seconds |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for name, (activation, rank, n, more) in KINDS.items():
        rows = []
        for seed in range(3):
            known = Known(activation, rank, n, seed=seed, **more)
            fresh = known.draw(2000)
            start = time.perf_counter()
            found = lr.maxent.fit(known.steps, known.embedding, activation=activation)
            seconds = time.perf_counter() - start
            error = np.mean((np.asarray(found.conditional_mean(fresh)) - known.g(fresh)) ** 2)
            best = known.best_of_path(fresh)
            rows.append((np.mean(known.g(fresh) ** 2), best, error, error / best, found.deviation, seconds))
        ratios += [row[3] for row in rows]
        power, best, error, _, spread, seconds = np.median(rows, axis=0)
        over = ", ".join(f"{row[3]:.2f}" for row in rows)
        print(f"| {name} | {power:.2f} | {best:.3f} | {error:.3f} | {over} | {spread:.2f} | {seconds:.1f} |")
    print(f"\nover the best: median {np.median(ratios):.2f}, worst {max(ratios):.2f}\n")


def table_of_spreads():
    print("| n given e | neurons | rank | noise | true | measured | 90 % interval holds it |")
    print("|---|---|---|---|---|---|---|")
    for spread, sigma in (
        ("normal", 0.3),
        ("normal", 1.0),
        ("normal", 3.0),
        ("split", 2.0),
        ("student", 1.0),
    ):
        for n, rank in ((200, 2), (500, 3), (1000, 2), (1000, 5)):
            row(spread, sigma, n, rank, 0.0, 4)
    for n, rank in ((100, 1), (100, 2), (500, 2), (500, 3)):
        for noise in (0.05, 0.1, 0.3):
            row("normal", 1.0, n, rank, noise, 20)
    print()


def row(spread, sigma, n, rank, noise, seeds):
    found, held = [], 0
    for seed in range(seeds):
        known = Known("tanh", rank, n, noise=noise, spread=spread, sigma=sigma, seed=seed)
        fit = lr.maxent.fit(known.steps, known.embedding)
        low, high = fit.interval()
        found.append(fit.deviation)
        held += low <= sigma <= high
    measured = f"{np.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
    print(f"| {spread} | {n} | {rank} | {noise} | {sigma} | {measured} | {held} of {seeds} |", flush=True)


def table_of_bands(seeds=20, draws=100):
    print("| rank | inputs | noise | neurons | states within the 90 % band |")
    print("|---|---|---|---|---|")
    every = []
    for rank in (1, 2, 3):
        for inputs in (0, 1):
            for noise in (0.05, 0.1, 0.3):
                for n in (100, 500):
                    held = [np.mean(covered(rank, inputs, noise, n, seed, draws)) for seed in range(seeds)]
                    every.append(np.mean(held))
                    print(f"| {rank} | {inputs} | {noise} | {n} | {np.mean(held):.3f} |", flush=True)
    print(f"\nall together {np.mean(every):.3f}\n")


def drifts(rank, inputs, noise, n, seed, draws):
    """The true drift at some visited states (state, rank), and that of posterior networks (draw, state,
    rank).
    """
    known = Known("tanh", rank, n, inputs=inputs, noise=noise, trials=30, seed=1000 + seed)
    fit = lr.maxent.fit(known.steps, known.embedding)
    x = known.rates(known.embedding, *known.steps.explored(200)) / n
    found = [x @ np.asarray(fit.posterior(key).n, float) for key in jr.split(jr.key(seed), draws)]
    return x @ known.n, np.stack(found)


def covered(*case):
    true, found = drifts(*case)
    # Of 100 draws the sixth and the 95th: between them lies a further one with probability 90/101.
    low, high = np.sort(found, axis=0)[[5, -6]]
    return (low <= true) & (true <= high)


def table_of_ranks(runs=500, draws=99):
    """Simulation-based calibration: the rank of the true drift at one state among posterior draws."""
    ranks = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        rank, n = int(rng.integers(1, 4)), int(rng.choice([100, 300]))
        true, found = drifts(
            rank, int(rng.integers(0, 2)), float(rng.choice([0.05, 0.1, 0.3])), n, seed, draws
        )
        state, k = rng.integers(len(true)), rng.integers(rank)
        ranks.append(int((found[:, state, k] < true[state, k]).sum()))
    counts = np.histogram(ranks, np.linspace(0, draws + 1, 11))[0]
    test = stats.chisquare(counts)
    print(f"ranks of the true drift in tenths, {runs} runs: {counts.tolist()}, chance {test.pvalue:.3f}\n")


def laws(dim):
    """By name: samples (n, dim) with a generator, and their log-density. Of the quadstable system m, and
    further coordinates of the same variance within a cluster.
    """
    corners = np.zeros((4, dim))
    corners[:, :2] = 0.87 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    line = np.zeros((2, dim))
    line[1, 0] = 3
    covariance = 0.5 + 0.5 * np.eye(dim)
    one = stats.multivariate_normal(np.zeros(dim), covariance)
    tails = stats.multivariate_t(np.zeros(dim), covariance, df=4)

    def clusters(means, sd):
        parts = [stats.multivariate_normal(mean, sd**2 * np.eye(dim)) for mean in means]
        return (
            lambda n, rng: means[rng.integers(len(means), size=n)] + sd * rng.normal(size=(n, dim)),
            lambda x: logsumexp([part.logpdf(x) for part in parts], axis=0) - np.log(len(parts)),
        )

    return {
        "Gaussian": (lambda n, rng: one.rvs(n, random_state=rng), one.logpdf),
        "quadstable": clusters(corners, 0.5),
        "two Gaussians": clusters(line, 1.0),
        "Student t, 4": (lambda n, rng: tails.rvs(n, random_state=rng), tails.logpdf),
    }


def table_of_populations(seeds=1, fresh=20_000):
    print(
        "| neurons | coordinates | law | gaussian | mixture | flow | kept | nats from the truth, over best |"
    )
    print("|---|---|---|---|---|---|---|---|")
    options = {"updates": 500, "batch_size": 1024, "progress": False}
    every = []
    for dim in (2, 3, 5):
        for n in (20, 50, 100, 200, 500, 1000):
            for law, (sample, truth) in laws(dim).items():
                for seed in range(seeds):
                    rng = np.random.default_rng([seed, n, dim])
                    x, new = sample(n, rng), sample(fresh, rng)
                    fits, off = {}, {}
                    for kind in (*lr.population.KINDS[::-1], "best"):
                        fits[kind], _ = lr.population.fit(x, key=jr.key(seed), kind=kind, **options)
                        off[kind] = float(np.mean(truth(new) - np.asarray(fits[kind].log_prob(new))))
                    least = min(off[kind] for kind in lr.population.KINDS)
                    every.append(off["best"] / least)
                    cells = " | ".join(f"{off[kind]:.4f}" for kind in lr.population.KINDS[::-1])
                    kept = f"{fits['best'].kind} | {off['best']:.4f}, {every[-1]:.2f}"
                    print(f"| {n} | {dim} | {law} | {cells} | {kept} |", flush=True)
    good = np.mean(np.array(every) <= 1.2)
    print(f"\nat most 1.2 times the best in {good:.0%} of {len(every)}, worst {max(every):.1f}\n")


TABLES = {
    "g": table_of_g,
    "spread": table_of_spreads,
    "bands": table_of_bands,
    "ranks": table_of_ranks,
    "population": table_of_populations,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="maxent: the drift of new neurons")
    for name in sys.argv[1:] or TABLES:
        TABLES[name]()
