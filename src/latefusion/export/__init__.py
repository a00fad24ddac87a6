"""A checkpoint in, a model file for each runtime out, verified before it is kept."""
