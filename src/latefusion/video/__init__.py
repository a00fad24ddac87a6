"""A clip in, a clip of its mattes out, without flicker and with its sound."""
