"""An exported network and an image of its input size in, the planes it computes out."""
