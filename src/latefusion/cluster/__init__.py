"""Photos in folders or object storage in, their results there out, on many machines with Ray."""
