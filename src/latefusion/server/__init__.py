"""HTTP requests with photos in, pictures out; the only package that imports FastAPI and uvicorn."""
