"""The two trainings that made the shipped weights, exactly as they were run."""

from __future__ import annotations

from train import Recipe

TEACHER = Recipe(
    name="teacher",
    shape="teacher",
    steps=750,
    seed=15,
    dropout=0.2,
    weight_decay=0.3,
    decay_from=0.3,
    late_from=0.7,
    validations=3,
)

# The run had a time limit and reached it after step 1140, 76 steps into the rounding and with the learning rate at
# 13 % of its peak; the weights of that step are the ones that ship.
FABLE = Recipe(
    name="fable",
    shape="fable",
    steps=1330,
    stop_after=1140,
    seed=21,
    dropout=0.12,
    weight_decay=0.3,
    decay_from=0.4,
    late_from=0.65,
    distil=0.6,
    quantise_from=0.8,
    validations=7,
)
