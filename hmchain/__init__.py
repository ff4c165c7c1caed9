"""What every party of a consortium must agree on: chain, blobs, envelopes, weights, aggregation, manifest."""

import os

# Of eth-hash's two backends this one takes a fifth of the time (2 and 11 µs), and an embedded chain hashes much; where
# both are there, as web3 sees to, eth-hash would take the other.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
