"""Photos from folders or object storage in, results to the same out, by Ray on many machines."""
