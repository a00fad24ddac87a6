"""A photo in, a `Matte` out: the whole picture, closer looks, the refined outline."""
