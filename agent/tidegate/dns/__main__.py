"""python -m tidegate.dns: started by the agent (client.py)."""

from __future__ import annotations

import sys

from tidegate.dns.process import exit_code

if __name__ == "__main__":
    sys.exit(exit_code(sys.argv[1:]))
