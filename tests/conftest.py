"""Strict numerics for every test: no silent broadcasting, no warning passed over, no window opened."""

import jax
import matplotlib
import pytest

matplotlib.use("Agg")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    # Warnings are errors, but for those of other packages that no code of ours can avoid.
    for line in (
        "error",
        "default::DeprecationWarning:jaxopt.*",
        "default::DeprecationWarning:ott.*",
    ):
        config.addinivalue_line("filterwarnings", line)
