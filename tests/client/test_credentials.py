from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import trustme
from tritonclient.grpc import service_pb2_grpc

from livewarden_client import Client, Clip, Credentials
from livewarden_client.errors import InvalidRequest, Misuse, Unavailable

PEM = b"-----BEGIN CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def serve(kserve: Any, authority: trustme.CA) -> Iterator[Callable[..., str]]:
    """Serve `kserve` with TLS for `localhost`: `serve(mutual=True)` gives its address."""
    servers = []

    def start(*, mutual: bool = False) -> str:
        own = authority.issue_cert("localhost")
        pair = own.private_key_pem.bytes(), b"".join(c.bytes() for c in own.cert_chain_pems)
        ask = authority.cert_pem.bytes() if mutual else None
        server = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(kserve, server)
        credentials = grpc.ssl_server_credentials([pair], ask, require_client_auth=mutual)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        return f"localhost:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait()


def test_tls_server_is_checked(serve: Callable[..., str], authority: trustme.CA) -> None:
    """A server with a certificate of the given authority is trusted; of another one, never."""
    address = serve()
    with Client(address, credentials=Credentials(ca=authority.cert_pem.bytes())) as client:
        assert client.is_ready()
        assert client.moderate(Clip()).provenance.bundle
    for credentials in (Credentials(ca=trustme.CA().cert_pem.bytes()), Credentials(), None):
        with (
            Client(address, credentials=credentials, on_failure="raise") as client,
            pytest.raises(Unavailable),
        ):
            client.moderate(Clip())


def test_mutual_tls_shows_the_callers_certificate(
    serve: Callable[..., str], authority: trustme.CA
) -> None:
    """A server that asks for a certificate gets it, and lets nobody else in."""
    address = serve(mutual=True)
    own = authority.issue_cert("caller.internal")
    ca = authority.cert_pem.bytes()
    credentials = Credentials(
        ca=ca,
        certificate=b"".join(one.bytes() for one in own.cert_chain_pems),
        key=own.private_key_pem.bytes(),
    )
    with Client(address, credentials=credentials, on_failure="raise") as client:
        assert client.moderate(Clip(request_id="r1")).request_id == "r1"
    with (
        Client(address, credentials=Credentials(ca=ca), on_failure="raise") as client,
        pytest.raises(Unavailable),
    ):
        client.moderate(Clip())


def test_token_travels_with_every_request(kserve: Any) -> None:
    """The token is the `authorization` of calls; in plain text only on this machine."""
    seen: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> bytes:
        seen.append(dict(context.invocation_metadata())["authorization"])
        return kserve.echo(request)

    kserve.answer = answer
    credentials = Credentials(token="abc.def", tls=False)
    with Client(kserve.address, credentials=credentials, on_failure="raise") as client:
        client.moderate(Clip())
        assert client.is_ready()
    assert seen == ["Bearer abc.def"]


@pytest.mark.parametrize(
    "url", ["triton.internal:8001", "10.0.0.1:8001", "dns:///triton:8001", "[2001:db8::1]:8001"]
)
def test_token_never_leaves_this_machine_in_plain_text(url: str) -> None:
    """A token without TLS to another host is refused before anything connects."""
    with pytest.raises(Misuse, match="plain text") as caught:
        Client(["127.0.0.1:8001", url], credentials=Credentials(token="abc", tls=False))
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "localhost:8001", "[::1]:8001"])
def test_token_may_stay_on_this_machine(url: str) -> None:
    """The loopback needs no TLS."""
    Client(url, credentials=Credentials(token="abc", tls=False)).close()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"ca": "file.pem"}, "ca"),
        ({"ca": b"no pem"}, "ca"),
        ({"certificate": PEM}, "key"),
        ({"key": PEM}, "key"),
        ({"token": "two words"}, "token"),
        ({"token": "line\nbreak"}, "token"),
        ({"token": b"bytes"}, "token"),
        ({"ca": PEM, "tls": False}, "tls"),
    ],
)
def test_wrong_credentials_are_refused(given: dict[str, Any], field: str) -> None:
    """What cannot work is refused when it is made, naming the field and quoting nothing."""
    with pytest.raises(InvalidRequest) as caught:
        Credentials(**given)
    assert caught.value.field == field
    assert "two words" not in str(caught.value)


def test_secrets_are_not_in_the_repr() -> None:
    """A repr in a log gives nothing away."""
    shown = repr(Credentials(token="abc", certificate=PEM, key=PEM + b"secret"))
    assert "abc" not in shown
    assert "secret" not in shown
