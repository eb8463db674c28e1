"""Exercises of the chapter *Connector*."""

import numpy as np

from .judge import numbers, same


def ex_cn_covariance(answer):
    """`matheron(prior, noise, X, Y, rho)`: it is affine in its draws, so mean and covariance are exact."""
    rng, rho, n, steps = np.random.default_rng(0), 0.05, 6, 12
    X, Y, zeros = rng.normal(size=(steps, n)), rng.normal(size=(steps, 2)), np.zeros
    solve = n * np.linalg.inv(X.T @ X + rho * n**2 * np.eye(n)) @ X.T
    clues = {
        "the prior alone: the data do not come in": zeros((n, 2)),
        "the drift is X N-hat / N: the ridge solution has a factor N": solve @ Y / n,
        "the ridge is rho N^2": n * np.linalg.solve(X.T @ X + rho * np.eye(n), X.T @ Y),
    }
    mean = answer(zeros((n, 2)), zeros((steps, 2)), X, Y, rho)
    same("draws of 0, which give the mean", mean, solve @ Y, clues=clues)
    # Draws are linear in prior and noise: what unit draws give says what the covariance is.
    along = numbers("draws", answer(np.eye(n), zeros((steps, n)), X, zeros((steps, n)), rho))
    across = numbers("draws", answer(zeros((n, steps)), np.eye(steps), X, zeros((steps, steps)), rho))
    kept, without_n, noise = np.eye(n) - solve @ X / n, np.eye(n) - solve @ X, rho * solve @ solve.T
    clues = {
        "the noise does not come in, and the draws vary too little": kept @ kept.T,
        "noise comes with its size, rho sigma^2: do not scale it again": kept @ kept.T + rho * noise,
        "subtract the drift of the prior's weights from the data": np.eye(n) + noise,
        "the prior's weights are to be added at the end": (kept - np.eye(n)) @ (kept - np.eye(n)).T + noise,
        "the prior's weights do not come in": noise,
        "the drift of the prior's weights is X n / N": without_n @ without_n.T + noise,
    }
    wanted = np.linalg.inv(np.eye(n) + X.T @ X / (rho * n**2))
    same("the covariance for sigma = 1", along @ along.T + rho * across @ across.T, wanted, clues=clues)
