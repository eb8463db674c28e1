"""Exercises of code have a stub, a check, two hints and a solution; a stub fails its check."""

import ast
import importlib
import re
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import CHAPTERS, NAMES
from sklearn.mixture import GaussianMixture

import lrcore as lr
from lrcore.exercises import all_checks, judge
from lrcore.exercises.judge import Wrong, close, same

EXERCISE = re.compile(r"^```\{exercise\}.*?\n:label: (ex-[\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL = re.compile(
    r"^```\{code-cell\} ipython3\n(?::tags: \[(.*?)\]\n\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
NOT_YET = "there is no answer yet"


def parts(chapter):
    """Of each exercise: its label, what follows it in the flow, and its solution."""
    text = chapter.read_text()
    found = list(EXERCISE.finditer(text))
    for number, one in enumerate(found, 1):
        end = found[number].start() if number < len(found) else len(text)
        flow, _, solution = text[one.end() : end].partition("```{solution-start}")
        yield one[1], flow, solution.partition("```{solution-end}")[0]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_every_exercise_of_code_has_all_its_parts(chapter):
    for label, flow, solution in parts(chapter):
        if not CELL.search(solution):
            continue
        cells = {tags: code for tags, code in CELL.findall(flow)}
        assert list(cells) == ["stub", "check"], f"{label}: {list(cells)}"
        assert cells["check"].strip().startswith(f'lr.book.check("{label}", '), label
        call = cells["check"].strip()
        assert f"assert {call}" in solution, f"{label}: the solution is checked with `assert {call}`"
        for hint in (1, 2):
            assert f":::{{admonition}} Hint {hint}\n:class: dropdown hint\n" in flow, f"{label}: hint {hint}"
        assert label in all_checks()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_a_stub_fails_its_check(chapter):
    for label, flow, _ in parts(chapter):
        cells = dict(CELL.findall(flow))
        if "stub" in cells:
            names = {"np": np, "jnp": jnp, "jax": jax, "jr": jax.random, "lr": lr}
            exec(cells["stub"], names)
            answer = cells["check"].strip().rstrip(";").split(", ", 1)[1][:-1]
            assert NOT_YET in judge(label, eval(answer, names)), label


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_two_questions_to_think_about(chapter):
    text = chapter.read_text()
    if "## Exercises" in text:
        assert text.count("{admonition} Think") >= 2
        assert text.count("{admonition} One answer") >= text.count("{admonition} Think")


def test_every_check_is_of_an_exercise():
    labels = {label for chapter in CHAPTERS for label, *_ in parts(chapter)}
    assert set(all_checks()) <= labels


def test_a_forgotten_answer_or_label_is_said_in_one_line(capsys):
    assert not lr.book.check("ex-gain") and not lr.book.check()
    first, second = capsys.readouterr().out.splitlines()
    assert "there is no answer yet" in first and second.startswith("label: expected that of an exercise")


def test_wrong_things_are_said_in_one_line(capsys):
    checks = all_checks()
    wrong = [None, ..., 3.0, "tanh", lambda: 1, lambda *a, **k: 1 / 0, lambda *a, **k: None, np.ones(3), {}]
    for label in checks:
        for answer in wrong:
            assert not lr.book.check(label, answer)
            said = capsys.readouterr().out
            assert said.startswith(f"{label}: not yet. ") and said.count("\n") == 1, said


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("ex-gian", "did you mean 'ex-gain'"),
        ("EX-GAIN", "did you mean 'ex-gain'"),
        ("ex_gain", "did you mean 'ex-gain'"),
        ("ex-of-no-chapter", "that exercise has no check"),
        (["ex-gain"], "got a list"),
        ({}, "got a dict"),
        (np.ones((3, 3)), "got a ndarray"),
        (None, "got a NoneType"),
    ],
)
def test_a_wrong_label_is_said_in_one_line(capsys, label, said):
    assert not lr.book.check(label, lambda: 1)
    printed = capsys.readouterr().out
    assert said in printed and printed.count("\n") == 1


def test_every_exercise_without_a_check_is_said_to_have_none():
    for label in {label for chapter in CHAPTERS for label, *_ in parts(chapter)} - set(all_checks()):
        with pytest.raises(ValueError, match="that exercise has no check"):
            judge(label, lambda: 1)


def test_an_answer_may_change_what_it_is_given():
    def backwards(spikes, lengths):
        for s, n in enumerate(lengths):
            spikes[s, :n] = spikes[s, :n][::-1].copy()
        lengths[:] = 0
        return spikes

    def rates_in_hz(spikes, lengths, bin_width):
        lengths = lengths.astype(float)
        lengths *= bin_width
        spikes *= 2
        return spikes.sum(axis=(0, 1)) / lengths.sum() / 2

    assert not judge("ex-de-end", backwards)
    assert not judge("ex-ten-units", rates_in_hz)
    # A wrong one that turns what it is compared with: nothing is turned, and all of it is right in place.
    assert judge("ex-de-end", lambda spikes, lengths: spikes)


def test_an_answer_that_leaves_is_said_to_have_stopped():
    assert judge("ex-gain", lambda *_: exit()).startswith("it stopped with SystemExit")


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (np.array([2.0, 4.0]), "factor of 2"),
        (np.array([-1.0, -2.0]), "sign"),
        (np.array([1.0, np.nan]), "1 of 2 are NaN"),
        (np.array([[1.0, 2.0]]), "shape"),
        (np.array([1.0, 2.5]), "index 1"),
        (np.array([3.0, 4.0]), "add nothing"),
        (None, "return"),
        ("two", "numbers"),
        (np.array([1.0, 2.0 + 1j]), "imaginary"),
    ],
)
def test_what_is_wrong_is_said(got, said):
    with pytest.raises(Wrong, match=said):
        same("x", got, np.array([1.0, 2.0]), clues={"add nothing": np.array([3.0, 4.0])})
    same("x", [1.0, 2.0], np.array([1.0, 2.0]))
    with pytest.raises(Wrong, match="x: got 4, which is too large"):
        same("x", 4.0, 2.0)
    for one in (2, [2.0], np.full((1, 1), 2.0), 2 + 0j):
        same("x", one, 2.0)
    with pytest.raises(Wrong, match="expected one number, got the shape"):
        same("x", [2.0, 2.0], 2.0)
    with pytest.raises(Wrong, match="the other way round"):
        same("x", np.ones((3, 2)), np.ones((2, 3)))


def solved(chapter):
    """Of each exercise with a check: its label, and the answer of its solution."""
    text = chapter.read_text()
    names = {"np": np, "jnp": jnp, "jax": jax, "jr": jax.random, "lr": lr}

    def define(cells):  # functions and what they import; not what a chapter computes
        for tags, code in cells:
            if tags != "stub":
                for part in ast.parse(code.split("---\n")[-1]).body:  # below its settings
                    if isinstance(part, ast.FunctionDef | ast.Import | ast.ImportFrom):
                        with suppress(NameError):  # a default that is computed
                            exec(compile(ast.Module([part], []), chapter.name, "exec"), names)

    define(CELL.findall(text.partition("## Exercises")[0]))
    for label, _, solution in parts(chapter):
        if cells := CELL.findall(solution):
            define(cells)
            answer = re.search(rf'assert lr\.book\.check\("{label}", (.*)\)$', solution, re.MULTILINE)[1]
            yield label, eval(answer, names)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=NAMES)
def test_a_solution_is_right_and_no_clue_is_said_of_it(chapter, monkeypatch):
    live = {}

    def noting(what, got, wanted, *, rtol=1e-3, atol=None, clues=None):
        same(what, got, wanted, rtol=rtol, atol=atol, clues=clues)
        for clue, slip in (clues or {}).items():
            dead = np.shape(slip) != np.shape(wanted) or close(slip, wanted, rtol, atol, wanted)
            live[clue] = live.get(clue, False) or not dead

    for label, answer in solved(chapter):
        module = importlib.import_module(all_checks()[label].__module__)
        monkeypatch.setattr(module, "same", noting)
        with jax.numpy_rank_promotion("allow"):  # as in a notebook
            assert not judge(label, answer), label
        assert all(live.values()), f"{label}: {[clue for clue in live if not live[clue]]}"
        live.clear()


def each(z, n, index):
    return z[np.arange(len(n)), index]


def with_derivative(overlap, z, nodes=96):
    xi, w = np.polynomial.hermite_e.hermegauss(nodes)
    slope = 1 - np.tanh(np.multiply.outer(np.linalg.norm(z, axis=1), xi)) ** 2
    return (slope @ w / w.sum())[:, None] * (z @ overlap)


def with_eigenvalues(rates, change, tolerance=1e-4):
    values, seen = np.linalg.eigh(rates.T @ rates)
    seen = seen[:, values > tolerance * values[-1]]
    return change - seen @ (seen.T @ change)


def information_criterion(n, count):
    return -GaussianMixture(count, random_state=0).fit(n).aic(n) / 2 / len(n)


@pytest.mark.parametrize(
    ("label", "answer", "said"),
    [
        ("ex-gain", with_derivative, "see hint 2"),
        (
            "ex-ld-ar",
            lambda m, v, g: np.sum(m[:, 1:] * m[:, :-1] + g * v[:, 1:]) / np.sum(m[:, :-1] ** 2 + v[:, :-1]),
            "the variance of z_t",
        ),
        ("ex-ld-when", lambda z, n, b: each(z, n, np.where(n > b, n - 1 - b, n - 1)), "not its last"),
        ("ex-ld-when", lambda z, n, b: each(z, n, (n - 1 - b) % n), "round"),
        ("ex-sp-count", information_criterion, "left out"),
        ("ex-sp-initial", with_eigenvalues, "tolerance squared"),
        ("ex-sp-initial", lambda r, c, tolerance=0: with_eigenvalues(r, c, 1e-8), "is an argument"),
        ("ex-de-shuffle", lambda r, w, k: 1e-3 * np.random.default_rng(0).normal(size=k), "width of 1"),
        ("ex-nl-odd", lambda m: np.where(abs(m) > 8, m, 0.0), "zero"),
        ("ex-nl-odd", lambda m: np.where(abs(m) > 8.5, abs(m) ** 3, m**3 - 3 * m), "even part"),
        ("ex-nl-odd", lambda m: 1e-8 * (m**3 - 3 * m), ""),
    ],
)
def test_slips_are_told_from_right_answers(label, answer, said):
    assert said in (wrong := judge(label, answer)) and bool(wrong) == bool(said)


@pytest.mark.parametrize("kind", [set, tuple, list, iter, np.array])
def test_orders_may_come_in_any_kind(kind):
    def orders(bias):
        return kind([k for k in range(8) if abs(np.sin(bias + k * np.pi / 2)) > 1e-9])

    assert not judge("ex-nl-sine", orders)
