"""All benchmarks that need no daemons, one after the other; bench.nodes is run by itself."""

import sys

from bench import gas, share

if __name__ == "__main__":
    status = gas.main()
    share.main()
    sys.exit(status)
