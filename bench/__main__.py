"""All benchmarks, one after the other."""

import sys

from bench import gas, share

if __name__ == "__main__":
    status = gas.main()
    share.main()
    sys.exit(status)
