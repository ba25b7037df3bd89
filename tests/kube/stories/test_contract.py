"""What our cluster source relies on of an API server is so on a real one: the suite that the fake passes, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kube.cluster import Cluster

ROOT = Path(__file__).resolve().parents[3]


def test_the_real_api_server_passes_the_contract_suite(cluster: Cluster) -> None:
    # Another pytest, because the suite asks the environment while it is collected.
    asked = [sys.executable, "-m", "pytest", "-q", "tests/contract/test_kube.py", "-k", "real"]
    variables = {**os.environ, "TIDEGATE_TEST_KUBECONFIG": str(cluster.kubeconfig())}
    done = subprocess.run(asked, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
