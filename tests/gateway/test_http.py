"""The guarded HTTP client: where it goes, and where it never goes."""

from __future__ import annotations

import httpx
import pytest

from gateway.http import ForbiddenAddress, UpstreamTransport, check_address, check_url
from tests.provider.fixtures import provider
from tests.provider.server import Provider

__all__ = ["provider"]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_are_for_operators_only(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address, allow_private=False)
    check_address(address, allow_private=True)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1%eth0", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"]
)
def test_some_addresses_are_for_nobody(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address, allow_private=True)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com/x", "http://10.0.0.1/x", "http://[::1]/x"])
def test_urls_that_lead_inside_are_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_url(httpx.URL(url), allow_private=False)


@pytest.mark.anyio
async def test_a_name_that_resolves_inside_is_refused(provider: Provider) -> None:
    transport = UpstreamTransport(connect_timeout_s=2)
    try:
        with pytest.raises(ForbiddenAddress, match="not public"):
            await transport.send("GET", f"http://localhost:{provider.port}/v1/models", {}, b"")
    finally:
        await transport.aclose()


@pytest.mark.anyio
async def test_an_operators_address_is_called(provider: Provider) -> None:
    transport = UpstreamTransport(connect_timeout_s=2, allow_private=True)
    headers = {"authorization": "Bearer x"}
    response = await transport.send("GET", f"http://localhost:{provider.port}/v1/models", headers, b"")
    assert (await response.aread()).startswith(b'{"object":"list"')
    await response.aclose()
    await transport.aclose()
