"""Cut out a photo with Python's standard library alone.

python matte.py http://127.0.0.1:7000 me.jpg me.png

If the server needs an API key, set LATEFUSION_API_KEY in the environment.
"""

import http.client
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TRIES = 5


def matte(server: str, photo: bytes, **options: str) -> tuple[bytes, float]:
    """Return the result and its confidence in [0, 1]. Raises HTTPError."""
    headers = {"Content-Type": "application/octet-stream"}
    if key := os.environ.get("LATEFUSION_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    url = f"{server}/api/matte?{urllib.parse.urlencode(options)}"
    for left in reversed(range(TRIES)):
        request = urllib.request.Request(url, photo, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read(), float(answer.headers["X-Latefusion-Confidence"])
        except urllib.error.HTTPError as error:
            if error.code != 429 or not left:  # 429: the server's queue is full
                raise
            with error:
                time.sleep(int(error.headers["Retry-After"]))
    raise AssertionError


def main() -> None:
    server, source, target = sys.argv[1:]
    try:
        result, confidence = matte(server, Path(source).read_bytes(), crop="true")
    except urllib.error.HTTPError as error:
        with error:
            sys.exit(error.read().decode())  # {"error": "one line"}
    except (OSError, http.client.HTTPException) as error:  # no server, or an answer cut short
        sys.exit(f"{server}: {error}")
    Path(target).write_bytes(result)
    print(f"{target}, confidence {confidence:.2f}")


if __name__ == "__main__":
    main()
