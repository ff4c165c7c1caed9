"""Deploys the contract, founds a consortium on it and opens a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.types import Wei

from hmchain.blobs import BlobRef, BlobStore
from hmchain.chain import ChainClient
from hmchain.contract import Receipt
from hmchain.endpoints import open_chain, shown
from hmchain.envelope import Identity, seal
from hmchain.errors import ChainError, UsageError
from hmchain.ethereum import answering, base_fee, wait_for_receipt
from hmchain.exchange import model_header
from hmchain.history import blob_to_abi
from hmchain.identity import MemberIdentity
from hmchain.keyring import seal_key
from hmchain.manifest import Manifest
from hmchain.weights import Weights, digest, encode

FOUNDERS_A_TRANSACTION = 50  # 3.7 million gas; 200 founders in one transaction would pass EIP-7825's cap
FUNDS = Wei(10**18)  # enough for a long run at a development chain's prices


@dataclass(frozen=True)
class Founder:
    """A founding member: its identity, its public name, its data's Merkle root (32 bytes) and number of samples."""

    identity: MemberIdentity
    name: str
    dataset_root: bytes
    samples: int


def connect(url: str) -> Web3:
    """A chain by its JSON-RPC URL, once it has answered. Raises ChainError."""
    if not url.startswith(("http://", "https://")):
        raise ChainError(f"{shown(url)} is neither 'embedded' nor the http(s) URL of an Ethereum node")
    try:
        web3 = open_chain([url])
        with answering():
            web3.eth.chain_id, web3.eth.block_number  # noqa: B018
    except (ChainError, UsageError) as fault:
        raise ChainError(f"no Ethereum node answers at {shown(url)}") from fault
    return web3


def connect_any(urls: Sequence[str], timeout: float) -> Web3:
    """The chain behind the first of several URLs that answers. Raises ChainError, UsageError."""
    web3 = open_chain(urls, timeout)
    with answering():
        web3.eth.chain_id  # noqa: B018
    return web3


def fund(web3: Web3, accounts: Sequence[str]) -> None:
    """Sends each account some ether from the node's own unlocked account, where gas has a price.

    Raises ChainError where gas has a price and the node has no unlocked account (development chains do).
    """
    with answering():
        if not base_fee(web3):
            return
        unlocked = web3.eth.accounts
        if not unlocked:
            raise ChainError("gas has a price on this chain, and its node has no unlocked account to pay it from")
        sent = [
            web3.eth.send_transaction({"from": unlocked[0], "to": Web3.to_checksum_address(account), "value": FUNDS})
            for account in accounts
        ]
        for transaction in sent:
            wait_for_receipt(web3, transaction)


def found(
    web3: Web3, deployer: LocalAccount, organisations: Sequence[tuple[str, bytes, bytes]]
) -> tuple[ChainClient, Receipt]:
    """Deploys the contract, founds the consortium of organisations (IConsortium.Organisation) and seals it.

    Returns the deployer's client, which has no rights any more, and the receipt of the deployment. Raises ChainError.
    """
    consortium, deployment = ChainClient.deploy(web3, deployer)
    for start in range(0, len(organisations), FOUNDERS_A_TRANSACTION):
        consortium.transact("found", organisations[start : start + FOUNDERS_A_TRANSACTION])
    consortium.transact("seal")
    return consortium, deployment


def found_consortium(
    web3: Web3, deployer: LocalAccount, founders: Sequence[Founder]
) -> tuple[list[ChainClient], Receipt]:
    """Deploys the contract, founds and seals the consortium, and commits each member to its data.

    Returns the clients, index 0 the deployer's and index n that of member n, and the receipt of the deployment. Raises
    ChainError.
    """
    consortium, deployment = found(web3, deployer, [_organisation(founder) for founder in founders])
    clients = [ChainClient(web3, founder.identity.account, consortium.address) for founder in founders]
    pairs = zip(clients, founders, strict=True)
    await_all(client.send("commitDataset", founder.dataset_root, founder.samples) for client, founder in pairs)
    return [consortium, *clients], deployment


def create_job(
    creator: ChainClient, coordinator: str, manifest: Manifest, blobs: tuple[BlobRef, BlobRef], model: bytes
) -> int:
    """Creates a job on chain. Returns its number. Raises ContractError, ChainError.

    blobs are its manifest and its sealed initial model, model is that model's digest (see publish_initial).
    """
    manifest_blob, model_blob = map(blob_to_abi, blobs)
    terms = manifest.terms().to_abi()
    receipt = creator.transact("createJob", terms, coordinator, manifest.digest(), model, manifest_blob, model_blob)
    return int(receipt.told("JobCreated")["job"])


def publish_initial(
    store: BlobStore, manifest: Manifest, weights: Weights, key: Identity
) -> tuple[tuple[BlobRef, BlobRef], bytes]:
    """Stores the manifest and the sealed initial model. Returns both references and the model's digest.

    Raises BlobError, StorageError.
    """
    plaintext = encode(weights, model_header(manifest.digest(), 0, bytes(32)))
    sealed = store.put(seal(plaintext, [key.public]))
    return (store.put(manifest.canonical()), sealed), digest(plaintext)


def open_job(
    coordinator: ChainClient, job: int, store: BlobStore, key: Identity, members: Sequence[tuple[ChainClient, bytes]]
) -> BlobRef:
    """Enrols the members, hands them the job's key and opens the first round. Returns the keyring's reference.

    members are (client, X25519 public key) in order of member number. Raises ChainError, BlobError, StorageError.
    """
    await_all(client.send("enrol", job) for client, _ in members)
    keyring = store.put(seal_key(key, {number: public for number, (_, public) in enumerate(members, start=1)}))
    coordinator.transact("publishKey", job, key.public, blob_to_abi(keyring))
    coordinator.transact("startJob", job)
    return keyring


def await_all(sent: Iterable[Callable[[], object]]) -> None:
    """Sends transactions one after the other, and then waits for all: they take a block or two, not one each."""
    for wait in list(sent):
        wait()


def _organisation(founder: Founder) -> tuple[str, bytes, bytes]:
    account, encryption = founder.identity.account, founder.identity.encryption
    return account.address, encryption.public, founder.name.encode()[:32].ljust(32, b"\0")
