"""HTTP requests with photos in, mattes and pictures out; the only room with FastAPI and uvicorn."""
