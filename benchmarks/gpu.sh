#!/usr/bin/env bash
# What lrcore takes on this machine's GPU and on its CPU, and whether every chapter's code runs on the GPU.
#
#     bash benchmarks/gpu.sh            # at most 8 minutes; --small: sizes for a trial run
#
# Runs as it is where Python has jax, equinox, diffrax, optax, optimistix, lineax, scikit-learn and scipy;
# installs nothing, reads no data. Chapters need matplotlib; what needs another package is left out by name.
# Results stand in $OUT (_build/gpu) as soon as each is there. PYTHON names another interpreter. On a machine
# without a GPU both columns are the CPU's: a trial run, which the table says and the book does not take.
set -u
cd "$(dirname "$0")/.."
export OUT="${OUT:-$PWD/_build/gpu}"
# Several processes share the card.
export XLA_PYTHON_CLIENT_PREALLOCATE=false MPLBACKEND=Agg LRCORE_SCALE=smoke
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
unset LRCORE_DATA
exec timeout -k 10 480 "${PYTHON:-python3}" benchmarks/bench.py gpu "$@"
