"""What every party of a consortium must agree on: chain, blobs, envelopes, weights, aggregation, manifest."""
