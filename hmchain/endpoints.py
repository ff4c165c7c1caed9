"""Several JSON-RPC URLs as one web3 provider: the first that answers is used, and the next one where it fails.

A chain is trusted because of its consensus, a URL is not: each node is asked for its chain id before anything else.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from hmchain.errors import ChainError, UsageError
from hmchain.jsontext import check_depth
from hmchain.timely import Timely

RETURN_SECONDS = 60.0  # after which an earlier URL is tried again

# What web3 and requests raise where a node is gone or refuses. The last three come of an answer that is no JSON-RPC.
TRANSPORT_FAULTS = (
    Web3Exception,
    requests.RequestException,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


class Node(HTTPProvider):
    """One node, by its URL. Its answers may be anything: one that is nested very deep would end the process."""

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """See web3's JSONBaseProvider. Raises ValueError."""
        check_depth(raw_response)
        return HTTPProvider.decode_rpc_response(raw_response)


class Endpoints(JSONBaseProvider):
    """A web3 provider over `urls`, in order of preference. Not thread-safe.

    timeout is in seconds, for each answer. Without a chain_id, the chain of the first URL that answers is taken. Raises
    UsageError for anything but http(s) URLs.
    """

    def __init__(self, urls: Sequence[str], timeout: float = 30.0, chain_id: int | None = None) -> None:
        super().__init__()
        if not urls:
            raise UsageError("no URL of an Ethereum node is given")
        for url in urls:
            if not _is_http(url):
                raise UsageError(f"{shown(url)} is not the http(s) URL of an Ethereum node")
        how = {"timeout": timeout, "auth": Timely(timeout)}
        self._nodes = [Node(url, how, exception_retry_configuration=None) for url in urls]
        self._chain_id = chain_id
        self._proved = [chain_id is None and len(urls) == 1] * len(urls)
        self._current, self._since = 0, 0.0

    @property
    def current(self) -> str:
        """The URL in use, as it may be printed (see shown)."""
        return shown(str(self._nodes[self._current].endpoint_uri))

    def pass_over(self) -> None:
        """Goes on with the next URL: the present node answers, but is behind what another one has shown already."""
        self._current, self._since = (self._current + 1) % len(self._nodes), time.monotonic()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """See web3's BaseProvider. Raises ChainError where no URL answers."""
        if self._current and time.monotonic() - self._since > RETURN_SECONDS:
            self._current = 0
        refusal: RPCResponse | None = None
        faults = []
        for offset in range(len(self._nodes)):
            index = (self._current + offset) % len(self._nodes)
            response: Any
            try:
                self._prove(index)
                response = self._nodes[index].make_request(method, params)
            except ChainError as fault:
                faults.append(str(fault))
                continue
            except TRANSPORT_FAULTS as fault:
                self._proved[index] = self._chain_id is None and len(self._nodes) == 1
                faults.append(f"{self._name(index)} {_trouble(fault)}")
                continue
            if not _is_answer(method, response):
                if isinstance(response, dict):
                    refusal = cast(RPCResponse, response)
                else:
                    faults.append(f"{self._name(index)} does not answer in JSON-RPC")
                continue
            if index != self._current:
                self._current, self._since = index, time.monotonic()
            return cast(RPCResponse, response)
        if refusal is not None:
            return refusal
        raise ChainError("; ".join(faults))

    def _prove(self, index: int) -> None:
        """Checks a node's chain id before it is first used, and again after it has failed. Raises ChainError."""
        if self._proved[index]:
            return
        answer = self._nodes[index].make_request(RPCEndpoint("eth_chainId"), [])
        found = int(cast(str, answer["result"]), 16)
        if self._chain_id is None:
            self._chain_id = found
        if found != self._chain_id:
            raise ChainError(f"{self._name(index)} is chain {found}, not chain {self._chain_id}")
        self._proved[index] = True

    def _name(self, index: int) -> str:
        return shown(str(self._nodes[index].endpoint_uri))


def open_chain(urls: Sequence[str], timeout: float = 30.0, chain_id: int | None = None) -> Web3:
    """web3 over the URLs, for any consensus. See Endpoints, also for what is raised."""
    web3 = Web3(Endpoints(urls, timeout, chain_id))
    # QBFT and Clique write validators and seals into extraData, which web3 refuses to read without this.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


def shown(url: str) -> str:
    """A URL as it may be printed: without user, password, path and query, where RPC providers put their keys."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "an address that is no URL"
    if not (parts.scheme and host):
        return "an address that is no URL"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{port}" if port else "")


def _trouble(fault: Exception) -> str:
    """What is wrong with a node that raised one of TRANSPORT_FAULTS, as the predicate of a sentence."""
    if isinstance(fault, requests.HTTPError) and fault.response is not None:
        return f"answers with HTTP {fault.response.status_code}"
    if isinstance(fault, OSError):  # requests' faults are OSErrors
        return f"does not answer ({_certificate_trouble(fault) or type(fault).__name__})"
    return "does not answer in JSON-RPC"


def _certificate_trouble(fault: BaseException | None) -> str:
    """What OpenSSL has against a node's certificate, as that it has expired, which may be our clock's fault; or "".

    requests raises it as the context of the context of what it raises.
    """
    while fault is not None:
        if isinstance(fault, ssl.SSLCertVerificationError):
            return fault.verify_message
        fault = fault.__context__
    return ""


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_answer(method: str, response: Any) -> bool:
    """Whether a response is final, as another node would give the same: a result, a revert, a refused transaction."""
    if not isinstance(response, dict):
        return False
    error: Any = response.get("error")
    if error is None:
        return "result" in response
    if not isinstance(error, dict):
        return False
    text = str(error.get("message", "")).lower()
    return method == "eth_sendRawTransaction" or "revert" in text or error.get("data") is not None
