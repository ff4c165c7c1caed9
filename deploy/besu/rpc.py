#!/usr/bin/env python3
"""Asks the hospital's Besu node one thing over JSON-RPC: rpc.py METHOD [PARAMETER…], for instance

    rpc.py qbft_proposeValidatorVote 0x42d4287eac8078828cf5f3486cfe601a275a49a5 true

A parameter is JSON where it can be read as such, and otherwise text. BESU_RPC names another URL than http://besu:8545.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any


def value_of(text: str) -> Any:
    """A parameter as the command line gives it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def ask(url: str, method: str, parameters: list[Any]) -> Any:
    """The result. Raises OSError where nobody answers, ValueError for an answer that is an error or none."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = json.load(answer)
    if "result" not in content:
        raise ValueError(json.dumps(content.get("error", content)))
    return content["result"]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    try:
        result = ask(os.environ.get("BESU_RPC", "http://besu:8545"), sys.argv[1], [value_of(a) for a in sys.argv[2:]])
    except (ValueError, OSError) as fault:
        sys.exit(str(fault))
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
