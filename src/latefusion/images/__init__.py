"""Image files in, upright RGB pixels out, and back: formats, colours, framing, compositing."""
