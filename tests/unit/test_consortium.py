"""consortium.json: it survives its file, and is believed only as far as the chain bears it out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from hmchain.chain import ChainClient
from hmchain.consortium import FORMAT, Consortium
from hmchain.contract import Artifact
from hmchain.embedded import EmbeddedChain
from hmchain.errors import ChainError, StorageError, UsageError

DEPLOYER = Account.create()
CONSORTIUM = Consortium(1337, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "1a" * 32, 7)


def test_it_survives_its_file(tmp_path: Path) -> None:
    CONSORTIUM.write(tmp_path / "consortium.json")
    assert Consortium.read(tmp_path / "consortium.json") == CONSORTIUM
    assert json.loads((tmp_path / "consortium.json").read_text()) == {
        "chain_id": 1337,
        "contract": CONSORTIUM.contract,
        "deployment": CONSORTIUM.deployment,
        "block": 7,
        "format": FORMAT,
        "records": "",
    }


def test_a_file_from_before_there_were_records_is_read(tmp_path: Path) -> None:
    content = asdict(CONSORTIUM)
    del content["records"]
    (tmp_path / "file").write_text(json.dumps(content))
    assert Consortium.read(tmp_path / "file") == CONSORTIUM


@pytest.mark.parametrize(
    "change",
    [
        {"format": "hmchain-consortium/2"},
        {"format": 1},
        {"chain_id": "1337"},
        {"chain_id": 1337.0},
        {"chain_id": True},
        {"contract": CONSORTIUM.contract.lower()},
        {"contract": "0x00"},
        {"contract": None},
        {"deployment": "0x" + "1A" * 32},
        {"deployment": "1a" * 32},
        {"deployment": "0x" + "1a" * 32 + "\n"},
        {"deployment": ["0x" + "1a" * 32]},
        {"block": -1},
        {"block": "7"},
        {"block": None},
        {"records": None},
        {"records": "0x1a"},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_file_with_another_value_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps(asdict(CONSORTIUM) | change))
    with pytest.raises(UsageError, match=rf"file is not a {FORMAT} file$"):
        Consortium.read(tmp_path / "file")


@pytest.mark.parametrize("key", ["chain_id", "contract", "deployment", "block"])
def test_a_file_without_one_of_its_keys_is_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({k: v for k, v in asdict(CONSORTIUM).items() if k != key}))
    with pytest.raises(UsageError, match=f"is not a {FORMAT} file"):
        Consortium.read(tmp_path / "file")


@given(st.binary(max_size=100) | st.sampled_from([b"[]", b"null", b"7", b'"x"', b"[" * 99_999, b'{"block":1e999}']))
@settings(deadline=None)
def test_other_bytes_are_refused_and_nothing_else_is_raised(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "no consortium"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        Consortium.read(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*: whoever founds the consortium \(hmchain deploy\)"):
        Consortium.read(tmp_path / "nowhere" / "file")
    with pytest.raises(StorageError, match="cannot write"):
        CONSORTIUM.write(tmp_path / "nowhere" / "file")


# ---------------------------------------------------------------- against the chain


@pytest.fixture(scope="module")
def deployed() -> tuple[EmbeddedChain, Consortium]:
    """A chain with the contract, and what its deployer would hand out."""
    chain = EmbeddedChain([DEPLOYER.address])
    client, receipt = ChainClient.deploy(chain.web3, DEPLOYER)
    return chain, Consortium(client.chain_id, client.address, receipt.transaction, receipt.block)


def test_the_contract_of_the_file_is_found(deployed: tuple[EmbeddedChain, Consortium]) -> None:
    chain, consortium = deployed
    consortium.check(chain.web3)


@pytest.mark.parametrize(
    "change", [{"deployment": "0x" + "11" * 32}, {"contract": CONSORTIUM.contract}, {"block": 2}], ids=str
)
def test_what_the_chain_does_not_bear_out_is_refused(
    change: dict[str, Any], deployed: tuple[EmbeddedChain, Consortium]
) -> None:
    chain, consortium = deployed
    told = replace(consortium, **change)
    with pytest.raises(ChainError, match=f"no contract {told.contract} created in block {told.block}"):
        told.check(chain.web3)


def test_another_chain_is_refused(deployed: tuple[EmbeddedChain, Consortium]) -> None:
    with pytest.raises(ChainError, match="this chain has no contract"):
        deployed[1].check(EmbeddedChain([DEPLOYER.address]).web3)


def test_a_transaction_that_created_nothing_is_refused(deployed: tuple[EmbeddedChain, Consortium]) -> None:
    chain, consortium = deployed
    sent = ChainClient(chain.web3, DEPLOYER, consortium.contract).transact(
        "found", [(DEPLOYER.address, b"\1" * 32, b"H".ljust(32, b"\0"))]
    )
    with pytest.raises(ChainError, match="this chain has no contract"):
        replace(consortium, deployment=sent.transaction).check(chain.web3)


def test_a_contract_from_other_bytecode_is_refused() -> None:
    artifact = Artifact.load()
    chain = EmbeddedChain([DEPLOYER.address])
    client, receipt = ChainClient.deploy(chain.web3, DEPLOYER, replace(artifact, bytecode=artifact.bytecode + b"\0"))
    consortium = Consortium(client.chain_id, client.address, receipt.transaction, receipt.block)
    with pytest.raises(
        ChainError, match=f"contract {client.address} is not the one that this version of hmchain carries"
    ):
        consortium.check(chain.web3)
