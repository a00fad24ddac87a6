"""The late fusion network: encoders, decoders, fusion and the matting network that joins them."""
