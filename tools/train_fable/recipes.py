"""The training that made the shipped weights."""

from __future__ import annotations

from train import Recipe

FABLE = Recipe(
    name="fable",
    steps=1200,
    seed=21,
    batch=32,
    dropout=0.1,
    weight_decay=0.1,
    decay_from=0.3,
    late_from=0.5,
    quantise_from=0.8,
    validations=6,
)
