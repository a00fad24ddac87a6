"""Photos with mattes in, checked pairs and batches out."""
