"""The sinusoidal vocoder of Codec 2: `analysis` (speech to model) and `synthesis` (model to speech)."""
