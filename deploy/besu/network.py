#!/usr/bin/env python3
"""The files that make four hospitals' Besu nodes one network. Needs nothing beyond what hmchain is installed with.

    network.py enode KEY HOST[:PORT]    a validator's enode and address, from its key file, for the others
    network.py write NODES FOLDER       from all enodes: genesis.json, static-nodes.json, permissions_config.toml

NODES is a text file with an enode a line; `#` begins a comment. Everybody writes the files from the same NODES and
compares the digest of genesis.json. A genesis that is there is left alone: it made the chain. A key may be listed a
second time, with the address that its hospital calls out from.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import sys
from pathlib import Path

import rlp
from eth_keys import keys

TEMPLATE = Path(__file__).resolve().with_name("qbftConfigFile.json")
ENODE = re.compile(r"enode://([0-9a-f]{128})@([0-9.]+):([0-9]{1,5})")
PORT = 30303
VANITY = bytes(32)
LEAST = 4  # validators; with fewer, one that fails stops the chain


def enode_of(key: bytes, host: str, port: int = PORT) -> str:
    """The enode of a node key at an IPv4 address. Raises ValueError."""
    address = ipaddress.IPv4Address(host)  # names would need Besu's early-access DNS options
    return f"enode://{keys.PrivateKey(key).public_key.to_bytes().hex()}@{address}:{port}"


def address_of(enode: str) -> str:
    """The validator's address: Ethereum's, of the node's key."""
    return str(keys.PublicKey(bytes.fromhex(public_key(enode))).to_address())


def public_key(enode: str) -> str:
    """The node's public key in hex. Raises ValueError for what is no enode at an IPv4 address."""
    match = ENODE.fullmatch(enode)
    if not match or not 0 < int(match[3]) < 65536:
        raise ValueError(f"{enode!r} is not enode://<128 hex digits>@<IPv4 address>:<port>")
    ipaddress.IPv4Address(match[2])
    return match[1]


def read_nodes(text: str) -> list[str]:
    """The enodes of a nodes file. Raises ValueError."""
    enodes = [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]
    for enode in enodes:
        public_key(enode)
    if len(set(enodes)) < len(enodes):
        raise ValueError("a line is there twice")
    return enodes


def extra_data(validators: list[str]) -> str:
    """QBFT's RLP([32 bytes of vanity, validators, no vote, round 0, no seals]), as the genesis block carries it."""
    addresses = [bytes.fromhex(validator.removeprefix("0x")) for validator in validators]
    return "0x" + rlp.encode([VANITY, addresses, [], b"", []]).hex()


def genesis(enodes: list[str]) -> str:
    """genesis.json of a chain that these nodes validate, the same text whatever their order. Raises ValueError."""
    validators = sorted({address_of(enode) for enode in enodes})
    if len(validators) < LEAST:
        raise ValueError(f"{len(validators)} validators tolerate no fault; {LEAST} tolerate one")
    content = json.loads(TEMPLATE.read_text(encoding="utf8"))["genesis"]
    return json.dumps(content | {"extraData": extra_data(validators)}, indent=2) + "\n"


def static_nodes(enodes: list[str]) -> str:
    """static-nodes.json: where to call each node, the first line of each key."""
    first = {public_key(enode): enode for enode in reversed(enodes)}
    return json.dumps([enode for enode in enodes if first[public_key(enode)] == enode], indent=2) + "\n"


def permissions(enodes: list[str]) -> str:
    """permissions_config.toml: who may connect, and from where."""
    return f"nodes-allowlist={json.dumps(enodes)}\n"


def write(enodes: list[str], folder: Path) -> str:
    """Writes the three files and says what the genesis is. Raises ValueError, OSError."""
    path = folder / "genesis.json"
    if not path.exists():
        path.write_text(genesis(enodes), encoding="utf8")
    (folder / "static-nodes.json").write_text(static_nodes(enodes), encoding="utf8")
    (folder / "permissions_config.toml").write_text(permissions(enodes), encoding="utf8")
    return f"{len(enodes)} enodes; genesis.json is sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def main(arguments: list[str]) -> str:
    """What the command line asks for. Raises ValueError, OSError."""
    match arguments:
        case ["enode", key, where]:
            host, _, port = where.partition(":")
            secret = bytes.fromhex(Path(key).read_text(encoding="ascii").strip().removeprefix("0x"))
            enode = enode_of(secret, host, int(port or PORT))
            return f"{enode}  # {address_of(enode)}"
        case ["write", nodes, folder]:
            return write(read_nodes(Path(nodes).read_text(encoding="utf8")), Path(folder))
    raise ValueError(str(__doc__))


if __name__ == "__main__":
    try:
        sys.stdout.write(main(sys.argv[1:]) + "\n")
    except (ValueError, OSError) as fault:
        sys.exit(str(fault))
