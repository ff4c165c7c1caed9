"""What `make bench` measures: gas, and where a run's time goes. The other modules are run by themselves."""

import sys

from bench import gas, share

if __name__ == "__main__":
    status = gas.main()
    share.main()
    sys.exit(status)
