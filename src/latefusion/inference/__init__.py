"""A photo in, a `Matte` out: the whole image, closer looks, the refined outline."""
