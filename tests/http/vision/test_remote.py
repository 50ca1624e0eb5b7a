"""Images by URL: refused, passed on, or fetched without opening a door into our network."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_network

import pytest
import trio
from trio.testing import MockClock

from llmlb.errors import InvalidRequest, LbError, Overloaded, StartupError
from llmlb.http.upstream.guarded import GuardedNetwork
from llmlb.http.upstream.pooled_client import PooledUpstreamClient
from llmlb.http.upstream.rules import for_strangers
from llmlb.http.vision.checking import check_images
from llmlb.http.vision.download import kind_of
from llmlb.http.vision.finding import find_images
from llmlb.http.vision.remote import FETCHES_AT_ONCE, ImageFetch, RemoteImages
from llmlb.settings import load_settings
from tests.fakes.images import PNG_100X100_BASE64, PNG_100X100_DATA_URL
from tests.fakes.network import MemoryNetwork, ServerSide

PNG = base64.b64decode(PNG_100X100_BASE64)
Page = Callable[[ServerSide], Awaitable[None]]


class Web:
    """An internet in memory: pages by URL (without scheme), and a resolver."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork(nursery, self._serve)
        self.pages: dict[str, Page] = {}
        self.addresses: dict[str, list[Sequence[str]]] = {}
        self.busy = self.busiest = 0
        self.client = PooledUpstreamClient(
            instance_id="lb",
            connect_timeout_s=5,
            network=GuardedNetwork(
                for_strangers([ip_network("127.9.0.0/16")]),
                network=self.network,
                resolve=self._resolve,
            ),
        )
        self.remote = RemoteImages(ImageFetch.INLINE, self.client)

    def on(self, place: str, page: Page, *resolved: Sequence[str]) -> None:
        """*page* is at *place*; its host resolves to these in turn, by default to a public one."""
        self.pages[place] = page
        self.addresses.setdefault(place.partition("/")[0], list(resolved) or [["93.184.216.34"]])

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        answers = self.addresses.get(host, [[host]])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _serve(self, side: ServerSide) -> None:
        request = await side.request()
        head = request.decode().split("\r\n")
        host = next(line[6:] for line in head if line.lower().startswith("host: "))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await self.pages[host.split(":")[0] + head[0].split()[1]](side)
        finally:
            self.busy -= 1

    @property
    def connected_to(self) -> list[str]:
        return [host for host, _ in self.network.asked]

    async def settle(self, *urls: str, hold: Callable[[int], bool] = lambda _: True) -> list[str]:
        """The URLs of the body that comes out."""
        body = body_of(*urls)
        parts = find_images(body)
        check_images(parts)
        settled = json.loads(await self.remote.settle(body, parts, hold))
        assert settled["model"] == "m"
        return [part["image_url"]["url"] for part in settled["messages"][0]["content"]]

    async def refusal(self, *urls: str) -> LbError:
        with pytest.raises(InvalidRequest) as caught:
            await self.settle(*urls)
        assert caught.value.http_status() == 400
        assert caught.value.param == "messages[0].content[0].image_url"
        return caught.value


@pytest.fixture
async def web(nursery: trio.Nursery) -> AsyncIterator[Web]:
    web = Web(nursery)
    yield web
    await web.client.aclose()
    nursery.cancel_scope.cancel()


def body_of(*urls: str) -> bytes:
    content = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return json.dumps({"model": "m", "messages": [{"content": content}], "n": 1}).encode()


def picture(content: bytes = PNG, kind: str = "image/png") -> Page:
    async def page(side: ServerSide) -> None:
        await side.reply(content, b"200 OK", b"content-type: " + kind.encode())

    return page


def redirect(to: str, status: int = 302) -> Page:
    async def page(side: ServerSide) -> None:
        await side.reply(b"", b"%d Elsewhere" % status, b"location: " + to.encode())

    return page


async def test_passthrough_changes_nothing_and_asks_nobody(web: Web) -> None:
    web.remote.mode = ImageFetch.PASSTHROUGH
    body = body_of("http://a.test/x.png")
    assert await web.remote.settle(body, find_images(body), lambda _: False) is body
    assert web.connected_to == []


async def test_off_refuses_urls_but_not_data_urls(web: Web) -> None:
    web.remote.mode = ImageFetch.OFF
    body = body_of(PNG_100X100_DATA_URL)
    assert await web.remote.settle(body, find_images(body), lambda _: False) is body
    assert "switched off" in (await web.refusal("https://a.test/x.png")).message


async def test_inline_puts_the_bytes_in_the_place_of_each_url(web: Web) -> None:
    web.on("a.test/x.png?w=1", picture())
    web.on("b.test/", picture(b"GIF89a..", "image/jpeg"))
    assert await web.settle(
        "http://a.test/x.png?w=1",
        PNG_100X100_DATA_URL,
        "http://b.test",
        "http://a.test/x.png?w=1#top",
    ) == [
        PNG_100X100_DATA_URL,
        PNG_100X100_DATA_URL,
        "data:image/gif;base64,R0lGODlhLi4=",
        PNG_100X100_DATA_URL,
    ]


async def test_the_same_url_is_fetched_once(web: Web) -> None:
    web.on("a.test/x", picture())
    assert await web.settle(*["http://a.test/x"] * 3) == [PNG_100X100_DATA_URL] * 3
    assert len(web.connected_to) == 1


async def test_a_url_written_with_escapes_is_fetched_as_it_reads(web: Web) -> None:
    web.on("a.test/x", picture())
    body = body_of("U").replace(b'"U"', rb'"http:\/\/a.test\/\u0078"')
    settled = await web.remote.settle(body, find_images(body), lambda _: True)
    assert json.loads(settled) == json.loads(body_of(PNG_100X100_DATA_URL))


async def test_no_credential_or_cookie_goes_out_and_no_connection_stays(web: Web) -> None:
    web.on("a.test/x", picture())
    await web.settle("http://a.test/x")
    (side,) = web.network.connections
    head = side.requests[0].lower()
    assert head.startswith(b"get /x http/1.1\r\n")
    assert b"accept: image/*" in head
    assert b"authorization" not in head
    assert b"cookie" not in head
    assert repr(web.client) == "<PooledUpstreamClient: 0 endpoints, 0 calls>"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:192.168.0.1]",
             "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]"]
)  # fmt: skip
async def test_private_addresses_are_not_fetched_from(web: Web, host: str) -> None:
    web.addresses[host.strip("[]")] = [[host.strip("[]")]]
    error = await web.refusal(f"http://{host}/x")
    assert "no public address" in error.message
    assert error.error_code() == "failed_to_download_image"
    assert web.connected_to == []


async def test_a_name_that_resolves_anew_to_a_private_address_gains_nothing(web: Web) -> None:
    web.on("a.test/x", picture(), ["93.184.216.34"], ["127.0.0.1"])
    assert await web.settle("http://a.test/x") == [PNG_100X100_DATA_URL]
    assert web.connected_to == ["93.184.216.34"]
    assert "no public address" in (await web.refusal("http://a.test/x")).message
    assert web.connected_to == ["93.184.216.34"]


async def test_a_redirect_to_the_same_name_is_resolved_and_checked_again(web: Web) -> None:
    web.on("a.test/x", redirect("/y"), ["93.184.216.34"], ["127.0.0.1"])
    web.on("a.test/y", picture())
    assert "no public address" in (await web.refusal("http://a.test/x")).message
    assert web.connected_to == ["93.184.216.34"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(web: Web, status: int) -> None:
    web.on("a.test/1", redirect("//b.test/2", status))
    web.on("b.test/2", redirect("3", status), ["1.1.1.1"])
    web.on("b.test/3", redirect("http://c.test/4", status))
    web.on("c.test/4", picture(), ["127.9.0.1"])
    assert await web.settle("http://a.test/1") == [PNG_100X100_DATA_URL]
    assert web.connected_to == ["93.184.216.34", "1.1.1.1", "1.1.1.1", "127.9.0.1"]


async def test_a_fourth_redirect_is_not(web: Web) -> None:
    web.on("a.test/1", redirect("/1"))
    assert "more than 3 times" in (await web.refusal("http://a.test/1")).message
    assert len(web.connected_to) == 4


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "no public address"),
        ("http://[::ffff:169.254.169.254]/", "no public address"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://b.test/", "only http and https"),
        ("http://u:p@b.test/", "user name"),
        ("http://[", "not valid"),
        ("http://b.test:99999/", "not valid"),
        ("http://b.test/a b", "not valid"),
        ("http://b.test\\@a.test/", "not valid"),
    ],
)
async def test_a_redirect_to_where_nobody_should_go(web: Web, target: str, reason: str) -> None:
    web.on("a.test/x", redirect(target))
    web.addresses["::ffff:169.254.169.254"] = [["::ffff:169.254.169.254"]]
    assert reason in (await web.refusal("http://a.test/x")).message
    assert web.connected_to == ["93.184.216.34"]


@pytest.mark.parametrize(
    "url", ["http:///x", "http://u@a.test/", "http://a.test:x/", "http://a.test/\u202e", "http://"]
)
async def test_a_url_that_is_none_is_not_fetched(web: Web, url: str) -> None:
    await web.refusal(url)
    assert web.connected_to == []


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (picture(PNG, "text/html"), "format is not supported: text/html"),
        (picture(PNG, "image/svg+xml"), "image/svg+xml"),
        (picture(PNG, "a\xad"), "unreadable"),
        (picture(b"<html>", "image/png"), "not a jpeg, png, gif or webp"),
        (picture(b"", "image/png"), "not a jpeg, png, gif or webp"),
        (picture(PNG[:4], "application/octet-stream"), "not a jpeg, png, gif or webp"),
    ],
)
async def test_what_is_no_image_is_not_embedded(web: Web, page: Page, reason: str) -> None:
    web.on("a.test/x", page)
    assert reason in (await web.refusal("http://a.test/x")).message


async def test_an_image_of_an_unnamed_kind_is_known_by_its_first_bytes(web: Web) -> None:
    async def unnamed(side: ServerSide) -> None:
        await side.reply(PNG)

    web.on("a.test/x", picture(PNG, "binary/octet-stream; x=1"))
    web.on("a.test/y", unnamed)
    both = await web.settle("http://a.test/x", "http://a.test/y")
    assert both == [PNG_100X100_DATA_URL] * 2


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"BM", None),
        (b"II*\x00", None),
    ],
)
def test_kinds_by_first_bytes(start: bytes, kind: str | None) -> None:
    assert kind_of(start) == kind


async def test_an_error_status_is_told(web: Web) -> None:
    async def gone(side: ServerSide) -> None:
        await side.reply(b"secrets", b"404 Gone")

    async def nowhere(side: ServerSide) -> None:
        await side.reply(b"", b"302 Elsewhere")

    web.on("a.test/x", gone)
    web.on("a.test/y", nowhere)
    assert (await web.refusal("http://a.test/x")).message == (
        "Failed to fetch an image by its URL: its server answers with HTTP 404."
    )
    assert "HTTP 302" in (await web.refusal("http://a.test/y")).message


async def test_a_server_that_cannot_be_read_is_told_without_details(web: Web) -> None:
    async def cut(side: ServerSide) -> None:
        await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n", PNG[:50])
        await side.hang_up()

    web.on("a.test/x", cut)
    assert "could not be read (disconnected)" in (await web.refusal("http://a.test/x")).message
    web.network.refuse = ConnectionRefusedError()
    message = (await web.refusal("http://a.test/x")).message
    assert "could not be read (unreachable)" in message
    assert "refused" not in message


async def test_a_large_image_is_not_even_begun(web: Web) -> None:
    async def large(side: ServerSide) -> None:
        await side.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n")
        await trio.sleep_forever()

    web.on("a.test/x", large)
    assert "larger than 10 MiB" in (await web.refusal("http://a.test/x")).message


async def test_an_image_that_never_stops_is_cut_at_the_limit(web: Web) -> None:
    sent = 0

    async def endless(side: ServerSide) -> None:
        nonlocal sent
        await side.send(b"HTTP/1.1 200 OK\r\n\r\n", PNG)
        while True:
            await side.send(bytes(64 * 1024))
            sent += 64 * 1024

    web.on("a.test/x", endless)
    web.network.in_step = True
    assert "larger than 10 MiB" in (await web.refusal("http://a.test/x")).message
    assert sent < 11 * 1024 * 1024


@pytest.mark.parametrize("stalls", ["connect", "head", "body", "drip"])
async def test_a_slow_server_is_left_after_ten_seconds(
    web: Web, autojump_clock: MockClock, stalls: str
) -> None:
    async def page(side: ServerSide) -> None:
        if stalls == "head":
            await trio.sleep_forever()
        await side.send(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n", PNG)
        while stalls == "drip":
            await trio.sleep(1)
            await side.send(b"x")
        await trio.sleep_forever()

    web.on("a.test/x", page)
    if stalls == "connect":
        web.network.connect_delay_s = 60
    started_s = trio.current_time()
    error = await web.refusal("http://a.test/x")
    expected = "unreachable" if stalls == "connect" else "did not come within 10 s"
    assert expected in error.message
    assert trio.current_time() - started_s == pytest.approx(5 if stalls == "connect" else 10)


async def test_only_so_many_are_fetched_at_once(web: Web, autojump_clock: MockClock) -> None:
    async def slow(side: ServerSide) -> None:
        await trio.sleep(1)
        await side.reply(PNG)

    for number in range(10):
        web.on(f"a.test/{number}", slow)
    assert (
        await web.settle(*(f"http://a.test/{n}" for n in range(10))) == [PNG_100X100_DATA_URL] * 10
    )
    assert web.busiest == FETCHES_AT_ONCE


async def test_the_first_failure_ends_the_other_fetches(
    web: Web, autojump_clock: MockClock
) -> None:
    async def never(side: ServerSide) -> None:
        await trio.sleep_forever()

    web.on("a.test/never", never)
    web.on("a.test/page", picture(b"", "text/html"))
    started_s = trio.current_time()
    with pytest.raises(InvalidRequest) as caught:
        await web.settle("http://a.test/never", "http://a.test/page")
    assert caught.value.param == "messages[0].content[1].image_url"
    assert trio.current_time() == started_s


async def test_what_is_fetched_counts_before_it_is_kept(web: Web) -> None:
    web.on("a.test/x", picture())
    asked: list[int] = []

    def hold(n_bytes: int) -> bool:
        asked.append(n_bytes)
        return False

    with pytest.raises(Overloaded):
        await web.settle("http://a.test/x", "http://a.test/x", hold=hold)
    assert asked == [3 * len(PNG_100X100_DATA_URL)]


def test_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().image_fetch == "passthrough"
    assert load_settings().image_fetch_allow == ()
    monkeypatch.setenv("LLMLB_IMAGE_FETCH", "inline")
    monkeypatch.setenv("LLMLB_IMAGE_FETCH_ALLOW", "127.0.0.0/8, ::1,")
    assert ImageFetch(load_settings().image_fetch) is ImageFetch.INLINE
    assert load_settings().image_fetch_allow == (ip_network("127.0.0.0/8"), ip_network("::1"))
    monkeypatch.setenv("LLMLB_IMAGE_FETCH_ALLOW", "127.0.0.1/8")
    with pytest.raises(StartupError, match=r"LLMLB_IMAGE_FETCH_ALLOW=127\.0\.0\.1/8 is not valid"):
        load_settings()


@pytest.mark.parametrize("url", [b"http://a.test/" + b"x" * 9000, rb"http://a.test/\x"])
async def test_a_url_that_cannot_be_read_is_refused(web: Web, url: bytes) -> None:
    body = body_of("U").replace(b"U", url)
    with pytest.raises(InvalidRequest, match="Failed to fetch an image: its URL"):
        await web.remote.settle(body, find_images(body), lambda _: True)
