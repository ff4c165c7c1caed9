"""What every party of a consortium must agree on: chain, blobs, envelopes, weights, aggregation, manifest."""

import os

# eth-hash picks pycryptodome where both of its backends are installed, as they are with web3. pysha3 takes a fifth of
# the time (2 µs a hash instead of 11), and an embedded chain hashes a great deal.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
