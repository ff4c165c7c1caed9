"""A vault of very many records: writing down, listing, counting, finding and verifying, in bounded memory.

python -m bench.vault [--records N] [--sealed S]

S of N records are sealed and stored as an import does it. The others are written down, registered and verified
the same way, with a pretended ciphertext each: sealing a million takes an hour and says nothing of the vault.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from bench.importers import observations, timed
from coordinator.deploy import Founder, found_consortium
from hmchain import merkle, registry
from hmchain.blobs import BlobRef, DirectoryStore
from hmchain.cid import Cid, codec_for
from hmchain.consortium import Consortium
from hmchain.embedded import EmbeddedChain
from hmchain.identity import MemberIdentity
from hmchain.ledger import JobFeed
from hmchain.record import Kind
from hmchain.registry import Registry
from trainers.config import Config, Records
from trainers.keystore import Keys
from trainers.records.archive import Archive
from trainers.records.holdings import Sealed, Wanted
from trainers.records.storing import BATCH_RECORDS
from trainers.records.vault import Vault
from trainers.records.verify import verify

LENGTH = 600  # bytes of a sealed observation


def founded(folder: Path) -> Archive:
    """The archive of the one hospital of a consortium on a chain in this process."""
    hospital = MemberIdentity.create()
    web3 = EmbeddedChain([hospital.account.address]).web3
    (client, _), deployment = found_consortium(web3, hospital.account, [Founder(hospital, "H", bytes(32), 0)])
    consortium = Consortium(web3.eth.chain_id, client.address, deployment.transaction, deployment.block)
    consortium = replace(consortium, records=registry.deploy(web3, hospital.account, consortium))
    keys = Keys(hospital)
    return Archive(
        config=Config(name="H", records=Records(folder=folder / "records")),
        keys=keys,
        consortium=consortium,
        web3=web3,
        history=JobFeed(client, consortium.block).poll(),
        registry=Registry.open(web3, hospital.account, consortium),
        vault=Vault.open(folder / "records", keys, consortium),
        store=DirectoryStore(folder / "blobs"),
    )


def pretended(vault: Vault, count: int) -> Iterator[list[Sealed]]:
    """Rows of so many records, a batch at a time, whose ciphertexts nobody has made."""
    records = observations(count)
    while batch := list(islice(records, BATCH_RECORDS)):
        rows = []
        for position, record in enumerate(batch):
            tag = vault.tag(record.identity())
            digest, offset = sha256(tag).digest(), position * LENGTH
            leaf = merkle.record_leaf(tag, digest, offset, LENGTH)
            rows.append(Sealed(record, tag, "pretended", leaf, tag, digest, offset, LENGTH))
        yield rows


def write_down(vault: Vault, count: int) -> None:
    """As trainers.records.storing does it, without blobs."""
    for rows in pretended(vault, count):
        root = merkle.root_of([row.leaf for row in rows])
        size = LENGTH * len(rows)
        vault.add(Kind.CLINICAL, root, BlobRef(root, Cid(codec_for(size), root), size), rows)


def measure(archive: Archive, count: int, sealed: int) -> None:
    """Prints a line for everything that is done with all of the records."""
    vault = archive.vault
    with timed(f"{count - sealed:,} written down", count - sealed):
        write_down(vault, count - sealed)
    with timed(f"{sealed:,} sealed, stored, written down", sealed):
        storing = archive.storing
        for record in islice(observations(count), count - sealed, count):
            storing.take(record)
        storing.finish()
    with timed("registered on chain, in batches", count):
        for _ in archive.register():
            pass
    with timed("listed, a page at a time", count):
        assert sum(1 for _ in vault.holdings()) == count
    with timed("counted by kind", count):
        assert vault.count(Wanted(Kind.CLINICAL)) == count
    with timed("one person's found", count // 5_000 or 1):
        assert sum(1 for _ in vault.holdings(Wanted(subject=f"{0:032x}")))
    with timed("verified: entries, places, roots, leaves (--quick)", count):
        assert verify(archive, quick=True)["records"] == count
    with timed(f"{sealed:,} opened and compared with their commitments", sealed):
        reading, batches = archive.reading, -(-sealed // BATCH_RECORDS)
        for batch in list(vault.batches())[-batches:]:
            for holding in vault.in_batch(batch):
                reading.open(holding)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.vault", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--sealed", type=int, default=2_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive = founded(Path(name))
        measure(archive, chosen.records, min(chosen.sealed, chosen.records))
        archive.vault.close()


if __name__ == "__main__":
    main()
