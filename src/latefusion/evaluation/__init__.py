"""Mattes and true alphas in, scores with intervals and a report out."""
