"""A clip in, the clip of its mattes out, steadied and with its sound."""
