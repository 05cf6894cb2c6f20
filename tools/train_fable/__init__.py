"""Trains Fable, the small Gemma 4 model that ships with the engine."""
