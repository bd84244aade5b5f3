"""Clients that leave, do not read, do not write, or are too many: nobody else waits for them."""

import json
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import until
from tests.server.conftest import ENDLESS, Site, endless, read_reply, site_of
from tinychat.engine import Engine
from tinychat.server import Limits, connection
from tinychat.server.admission import Admission
from tinychat.server.errors import ApiError
from tinychat.server.hosts import is_loopback

LONG = Limits(max_tokens=1_000_000)  # so that nothing ends by itself


@pytest.fixture(scope="module", autouse=True)
def many_files() -> Iterator[None]:
    """Both ends of every socket are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def endless_site(trained_runs: Path) -> Iterator[Site]:
    """One answer at a time, two wait, and none ends by itself."""
    engine = Engine(batch_rows=1, max_waiting=2)
    with site_of(trained_runs, engine=engine, limits=LONG, shelf=endless(trained_runs)) as site:
        yield site


def begin(site: Site, **more: object) -> socket.socket:
    """Ask for an endless answer, and leave the connection open."""
    body = json.dumps(ENDLESS | more).encode()
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(60)
    plain.connect(("127.0.0.1", site.port))
    plain.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    return plain


def hang_up(plain: socket.socket, *, rudely: bool = False) -> None:
    if rudely:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_nobody_reads_is_cancelled(endless_site: Site, stream: bool) -> None:
    site = endless_site
    plain = begin(site, stream=stream)
    until(lambda: site.engine.running == 1)
    hang_up(plain)
    until(site.is_idle)
    assert site.post("/v1/completions", ENDLESS | {"max_tokens": 3}).status_code == 200


def test_one_that_waits_and_is_left_is_taken_out(endless_site: Site) -> None:
    site = endless_site
    first = begin(site, stream=True)
    until(lambda: site.engine.running == 1)
    second = begin(site, n=2)
    until(lambda: site.engine.waiting == 2)
    hang_up(second)
    until(lambda: site.engine.waiting == 0)
    assert site.engine.running == 1
    hang_up(first)
    until(site.is_idle)


def test_two_hundred_dropped_connections_leave_nothing(trained_runs: Path) -> None:
    with site_of(trained_runs, limits=LONG, shelf=endless(trained_runs)) as site:
        for number in range(200):
            plain = begin(site, stream=number % 2 == 0)
            if number % 4 == 0:  # some leave after the first words, some before
                assert plain.recv(1024).startswith(b"HTTP/1.1 200")
            hang_up(plain, rudely=number % 3 == 0)
        until(site.is_idle)
        assert site.post("/v1/completions", ENDLESS | {"max_tokens": 3}).status_code == 200


def test_a_full_queue_is_told_at_once(endless_site: Site) -> None:
    site = endless_site
    going = [begin(site, stream=True)]
    until(lambda: site.engine.running == 1)
    going += [begin(site), begin(site)]
    until(lambda: site.engine.waiting == 2)
    for more in ({}, {"stream": True}, {"n": 2}, {"serial": True}):
        response = site.post("/v1/completions", ENDLESS | more)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["type"] == "rate_limit_error"
    assert (site.engine.running, site.engine.waiting) == (1, 2)
    hang_up(going[2])
    until(lambda: site.engine.waiting == 1)
    assert site.post("/v1/completions", ENDLESS | {"n": 2}).status_code == 429  # all or none
    assert site.engine.waiting <= 2
    for plain in going[:2]:
        hang_up(plain)
    until(site.is_idle)
    assert site.post("/v1/completions", ENDLESS | {"max_tokens": 3}).status_code == 200


def test_two_hundred_at_once_are_answered_or_sent_away(trained_runs: Path) -> None:
    with site_of(trained_runs) as site, ExitStack() as open_sockets:
        asked = [
            open_sockets.enter_context(begin(site, temperature=0.8, max_tokens=5))
            for _ in range(200)
        ]
        statuses = [read_reply(plain).status for plain in asked]
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= site.engine.batch_rows
        until(site.is_idle)


def test_a_client_that_does_not_read_is_dropped(
    trained_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALL_SECONDS", 0.2)
    with site_of(trained_runs, limits=LONG, shelf=endless(trained_runs)) as site:
        # a thousand bytes a token, into the smallest buffer there is
        plain = begin(site, stream=True, n=4, logprobs=20)
        until(lambda: site.engine.running == 4)
        until(site.is_idle)
        plain.close()


def test_half_open_connections_delay_nobody(site: Site) -> None:
    with ExitStack() as open_sockets:
        for number in range(500):
            half = open_sockets.enter_context(site.connect())
            if number % 5:  # some say nothing at all
                half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert site.post("/v1/completions", ENDLESS | {"max_tokens": 3}).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_half_open_connections_are_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    with site.connect() as half:
        half.sendall(begun)
        assert half.recv(1) == b""


def test_one_byte_at_a_time_buys_no_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.5)
    with site.connect() as slow:
        slow.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        until(lambda: not takes_a_byte(slow))


def test_a_kept_connection_has_to_go_on_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.5)
    with site.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_reply(plain).status == 200
        plain.sendall(b"GET /healthz HTTP/1.1\r\n")
        until(lambda: not takes_a_byte(plain))


def test_a_second_request_on_a_connection_has_its_own_deadline(site: Site) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with site.connect() as plain:
        for _ in range(3):
            plain.sendall(request)
            assert read_reply(plain).status == 200
        plain.sendall(request * 2)  # sent ahead
        assert read_reply(plain).status == 200


def takes_a_byte(plain: socket.socket) -> bool:
    """Send one more byte of a header; False once the server has ended the connection."""
    plain.settimeout(0.01)
    try:
        plain.sendall(b"x")
        return plain.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


# who may ask


def test_an_address_elsewhere_has_two_places_and_thirty_a_minute() -> None:
    now = [0.0]
    admission = Admission(Limits(), lambda: now[0])
    with admission.enter("192.168.1.9"), admission.enter("192.168.1.9"):
        with pytest.raises(ApiError, match="2 requests running") as caught:
            admission.enter("192.168.1.9").__enter__()
        assert caught.value.status == 429
        with admission.enter("192.168.1.8"):
            assert admission.running == 3
    for _ in range(28):
        with admission.enter("192.168.1.9"):
            pass
    now[0] = 59.5
    with pytest.raises(ApiError, match="30 times in a minute") as caught:
        admission.enter("192.168.1.9").__enter__()
    assert caught.value.headers["retry-after"] == "1"
    now[0] = 60.5
    with admission.enter("192.168.1.9"):
        assert admission.running == 1
    assert admission.running == 0


def test_this_machine_is_bounded_as_a_whole_only() -> None:
    admission = Admission(Limits(requests=40))
    with ExitStack() as held:
        for _ in range(40):
            held.enter_context(admission.enter("127.0.0.1"))
        with pytest.raises(ApiError, match="All 40 places"):
            admission.enter("127.0.0.1").__enter__()
    assert admission.running == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_what_is_this_machine(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.1", "", "box", "127.0.0.1.x"])
def test_what_is_not(address: str) -> None:
    assert not is_loopback(address)


def test_nobody_waits_for_a_model_that_is_opened(trained_runs: Path) -> None:
    with site_of(trained_runs) as site:
        with site.shelf._load:  # as if a large file were read
            plain = begin(site, temperature=0.8, max_tokens=1)
            for _ in range(5):
                assert site.get("/healthz").status_code == 200
                assert site.get("/v1/models").status_code == 200
            assert site.is_idle()
        assert read_reply(plain).status == 200
        plain.close()
