"""A checkpoint in, a model file for each runtime out, tried first."""
