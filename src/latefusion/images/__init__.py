"""A file's bytes in, upright pixels out, and back: every format, colour, size and soft edge."""
