"""CIDs are Kubo's.

The vectors were printed by Kubo 0.42.0, built from its Go module, for the bytes of sample(size):

    ipfs add -n -Q --offline --cid-version=1 --raw-leaves --chunker=size-262144
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmchain.cid import CHUNK_SIZE, DAG_PB, LINKS_PER_NODE, RAW, Cid, cid_of, codec_for
from hmchain.errors import BlobError

FULL_NODE = LINKS_PER_NODE * CHUNK_SIZE

KUBO = {
    0: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    1: "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
    CHUNK_SIZE - 1: "bafkreiagptg6ztonoojy4wflk3wwusl5xt4vcy6uult4wa7oemsjtxhjsu",
    CHUNK_SIZE: "bafkreibruh455iawsviqslif5c7uurdcfdemh22mtnytyzvnzn75kpejxy",
    CHUNK_SIZE + 1: "bafybeiexg2oqkfnj56l7fcmawswqbijt5shq4b5rg6a546uwpkqqzwjioi",
    CHUNK_SIZE + 127: "bafybeibtvgmeynuzftt24s4kiet6qkkyoz7f4r3xzoadu7cgagrpz4tqsu",  # 127: the last size of one byte
    CHUNK_SIZE + 128: "bafybeie7sebzeblbc3t34feueuds5jpu6aqitn4w27m2oe7bmomuh2iwzq",
    936_000: "bafybeif7llsoerzscqyu7wofujbhhnbzjyn45lplknyhs3pmckhujwh55q",
    1 << 20: "bafybeiedpcapwld4tkgtzwahfofgn4wex5ryysf4se6hwpmlrsh4ntnrau",
    FULL_NODE: "bafybeihpe5snhzneq7xs53nivmsopto5lrogo3wjynauqylqeym5a3irbm",
    FULL_NODE + 1: "bafybeib4y7ghw2rq7bracc4xwtxrbzo7cfvagdpte2tmrkgwl6dyard3cm",
    FULL_NODE + CHUNK_SIZE: "bafybeie73j3heycdgkdsehpoe6cxh2y3iywtf6djpi3dzqrywevvjmazny",
    60_000_000: "bafybeigam5dpll7feslqch2gt766vzamdrktqvcevpwul76d5cu6snb57e",
    2 * FULL_NODE + 1: "bafybeicfutb2ww7mu3ge6wekarjrg5lo6zva7z4kqj6t77ayda7gw55f4e",
}

# The same with --chunker=size-64, so that two megabytes are enough for three levels of nodes.
KUBO_CHUNKS_OF_64 = {
    64 * LINKS_PER_NODE**2: "bafybeigm35x62qezhha7c6medqpaucdkbel4ukevsscklywug4v7x4j52q",
    64 * LINKS_PER_NODE**2 + 1: "bafybeihknmejrtn5lorcpcuwvzzeceiljl4kwesuymzyrwh2qwrih4nm44",
    2_100_000: "bafybeietsgiylfdxlgqzsaiuyqkdr3j7zxggb4iujhsvz4n54dzscifrka",
}


def sample(size: int) -> bytes:
    """The bytes 0 to 250 over and over: a prime period, so that no two chunks are alike."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", KUBO)
def test_a_blob_has_the_cid_that_kubo_gives_it(size: int) -> None:
    assert str(cid_of(sample(size))) == KUBO[size]


@pytest.mark.parametrize("size", KUBO_CHUNKS_OF_64)
def test_a_tall_tree_has_the_cid_that_kubo_gives_it(size: int) -> None:
    assert str(cid_of(sample(size), chunk_size=64)) == KUBO_CHUNKS_OF_64[size]


@pytest.mark.parametrize("size", KUBO)
def test_the_codec_follows_from_the_size(size: int) -> None:
    assert codec_for(size) == Cid.parse(KUBO[size]).codec
    assert codec_for(size) == (RAW if size <= CHUNK_SIZE else DAG_PB)


def test_the_digest_of_a_raw_cid_is_the_sha256_of_the_blob() -> None:
    assert cid_of(b"abc").digest == hashlib.sha256(b"abc").digest()


@given(st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
def test_a_cid_survives_its_text(codec: int, digest: bytes) -> None:
    cid = Cid(codec, digest)
    assert Cid.parse(str(cid)) == cid
    assert len(str(cid)) == 59


def test_base58_is_read_too() -> None:
    # From js-ipfs's tests (github.com/ipfs/js-ipfs/pull/1591) and its base32 form.
    cid = Cid.parse("zdj7WcDSFNSsZkdkbpSDGeLsBtHbYKyvPQsaw6PpeeYdGqoAx")
    assert cid.codec == DAG_PB
    assert Cid.parse(str(cid)) == cid


VALID = KUBO[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "z",
        "QmdCootquw4nU55HmwdaCM1AzsvJYgpMRH2Tgrz9RRYk3s",  # version 0
        VALID.upper(),
        VALID[:1] + VALID[1:].upper(),
        VALID[:-1],
        VALID + "a",
        VALID[:-1] + "v",  # the same bytes, other spare bits
        VALID + "=",
        f"/ipfs/{VALID}",
        "b" + "a" * 58,
        "b" + "0" * 58,
        "b" + "ß" * 58,
        "z" + "z" * 48,
        "z" + "1" * 48,
        "z" + "0" * 48,
        "zdjKK3qqsxJnwsGsbohRfwnA5Kxj4mAhJjphUDrNuA8w5yUwN",  # Keccak-256, not SHA-256
        "zdj7WKcmar55BtVCK4cTrLJxnQBttkqRMb7yYSTgMDsdwcvbW",  # a digest of 31 bytes, and one more
        "zCBaeSsUjxNvihWNKmQ3Bto4J9C68xQsS3YE2RXzbYtqt6AWG",  # version 0 where 1 stands
        "bafyreihdb57fdysx5h35urvxz64ros7zvywshber7id6t6c6fek37jgyfe",  # dag-cbor
        "x" * 1_000_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BlobError, match=r"CID") as caught:
        Cid.parse(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=70))
def test_no_text_breaks_the_parser(text: str) -> None:
    for candidate in (text, "b" + text, "z" + text):
        with pytest.raises(BlobError):
            Cid.parse(candidate)


@pytest.mark.parametrize(("codec", "digest"), [(0x71, bytes(32)), (RAW, bytes(31)), (DAG_PB, b"")])
def test_a_cid_of_another_codec_or_digest_cannot_be_made(codec: int, digest: bytes) -> None:
    with pytest.raises(BlobError):
        Cid(codec, digest)
