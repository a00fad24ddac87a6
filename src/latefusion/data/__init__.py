"""Training data: from photos with mattes to checked pairs, and from pairs to batches."""
