"""Matting over HTTP: what `latefusion serve` runs. Only it may import FastAPI and uvicorn."""
