"""Pairs and settings in, a run folder with weights out."""
