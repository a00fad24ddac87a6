"""An image tensor in, fg, bg, blend and alpha out; checkpoints in and out."""
