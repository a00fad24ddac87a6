"""Names that the server answers to, and pages that may send it photos."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from latefusion.server.app import create_app
from latefusion.server.callers import Callers
from latefusion.server.refusals import RefusedError
from tests.helpers.service import encoded, error_of, lopsided, service

LOCAL = Callers("127.0.0.1")
PUBLIC = Callers("0.0.0.0")
NAMED = Callers("127.0.0.1", hosts=["photos.example.org", "[2606:4700::1]"])


def accepts(callers: Callers, path: str = "/api/matte", **headers: str) -> bool:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        callers.check(path, Headers({"host": "localhost:7000"} | given))
    except RefusedError as error:
        return error.status != 403
    return True


@pytest.mark.parametrize(
    ("callers", "host", "accepted"),
    [
        (LOCAL, "localhost", True),
        (LOCAL, "LocalHost.:7000", True),
        (LOCAL, "127.0.0.1:7000", True),
        (LOCAL, "[::1]:7000", True),
        (Callers("127.0.0.5"), "127.0.0.5:7000", True),
        (LOCAL, "127.0.0.5", False),
        (LOCAL, "evil.example:7000", False),
        (LOCAL, "localhost.evil.example", False),
        (LOCAL, "127.0.0.1.nip.io", False),
        (LOCAL, "intranet", False),
        (LOCAL, "192.168.0.7", False),
        (LOCAL, "[::1", False),
        (PUBLIC, "evil.example", False),
        (PUBLIC, "192.168.0.7:7000", True),
        (PUBLIC, "[2606:4700::1111]", True),
        (PUBLIC, "latefusion:7000", True),
        (PUBLIC, "me.local", True),
        (PUBLIC, "app.default.svc.cluster.local", True),
        (PUBLIC, "host.docker.internal", True),
        (PUBLIC, "local.evil.example", False),
        (Callers("0.0.0.0", key=True), "evil.example", True),
        (Callers("127.0.0.1", key=True), "photos.example.org", True),
        (Callers("0.0.0.0", hosts=["a.org"], key=True), "b.org", False),
        (NAMED, "photos.example.org:443", True),
        (NAMED, "[2606:4700::1]:80", True),
        (NAMED, "localhost:7000", True),
        (NAMED, "www.photos.example.org", False),
        (Callers("127.0.0.1", hosts=["*"]), "evil.example", True),
    ],
)
def test_a_server_answers_to_its_own_names(callers: Callers, host: str, accepted: bool) -> None:
    for path in ("/", "/api/matte", "/v1.0/removebg", "/metrics", "/version"):
        assert accepts(callers, path, host=host) is accepted
    assert accepts(callers, "/healthz", host=host)
    assert accepts(callers, "/readyz", host=host)


def test_a_request_without_a_name_comes_from_no_browser() -> None:
    assert accepts(LOCAL, host="")


@pytest.mark.parametrize(
    ("callers", "headers", "accepted"),
    [
        (LOCAL, {}, True),
        (LOCAL, {"origin": "http://localhost:7000"}, True),
        (LOCAL, {"origin": "https://localhost:7000"}, True),  # a proxy that ends TLS
        (LOCAL, {"origin": "http://localhost:3000"}, False),
        (LOCAL, {"origin": "http://127.0.0.1:7000"}, False),
        (LOCAL, {"origin": "https://evil.example"}, False),
        (LOCAL, {"origin": "null"}, False),
        (LOCAL, {"origin": "https://evil.example", "sec_fetch_site": "same-origin"}, True),
        (LOCAL, {"sec_fetch_site": "cross-site"}, False),  # <img src=".../api/remove?url=...">
        (LOCAL, {"sec_fetch_site": "same-site"}, False),
        (LOCAL, {"sec_fetch_site": "none"}, True),
        (NAMED, {"origin": "https://photos.example.org"}, True),  # though Host was changed
        (NAMED, {"origin": "https://evil.example"}, False),
        (Callers("127.0.0.1", hosts=["*"]), {"origin": "https://evil.example"}, False),
        (Callers("127.0.0.1", origins=["https://me.org"]), {"origin": "https://me.org"}, True),
        (Callers("127.0.0.1", origins=["https://me.org"]), {"origin": "http://me.org"}, False),
        (Callers("127.0.0.1", origins=["*"]), {"origin": "https://evil.example"}, True),
        (Callers("127.0.0.1", key=True), {"origin": "https://evil.example"}, True),
    ],
)
def test_pages_of_other_origins_send_no_photos(
    callers: Callers, headers: Mapping[str, str], accepted: bool
) -> None:
    assert accepts(callers, "/api/matte", **headers) is accepted
    assert accepts(callers, "/v1.0/removebg", **headers) is accepted
    assert accepts(callers, "/version", **headers)


def test_what_is_refused_is_told_in_one_line_before_the_body_is_read(toy_model: Path) -> None:
    form = {"image_file_b64": "AAAA"}
    with TestClient(create_app(service(toy_model), LOCAL), base_url="http://localhost") as client:
        found = client.post("/v1.0/removebg", data=form, headers={"origin": "https://evil.example"})
        assert "pages of other origins" in error_of(found, 403)
        found = client.post("/api/matte", content=b"", headers={"host": "evil.example"})
        assert "'evil.example'; use --allowed-host" in error_of(found, 403)
        same = {"origin": "http://localhost"}
        photo = encoded(lopsided())
        assert client.post("/api/matte", content=photo, headers=same).status_code == 200


@pytest.mark.parametrize(
    ("callers", "warned"),
    [
        (PUBLIC, True),
        (LOCAL, False),
        (Callers("::"), True),
        (Callers("0.0.0.0", hosts=["a.org"]), False),
        (Callers("0.0.0.0", key=True), False),
    ],
)
def test_a_server_that_is_open_to_all_says_so(
    callers: Callers, warned: bool, toy_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(create_app(service(toy_model), callers)):
        pass
    assert ("open to all" in caplog.text) is warned
