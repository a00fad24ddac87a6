"""A network's file and pixels of its input size in, the planes it computes out."""
