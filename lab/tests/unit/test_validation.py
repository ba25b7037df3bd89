from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import Rejected
from tidegate_lab.validation import validate

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {host: somewhere-else}
      weight: 100
"""


def test_what_a_document_refers_to_may_have_been_applied_before(tmp_path: Path) -> None:
    (tmp_path / "route.yaml").write_text(ROUTE)
    validate([tmp_path / "route.yaml"])


def test_every_error_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ROUTE.replace("100", "many"))
    (tmp_path / "b.yaml").write_text("\n" + ROUTE.replace("100", "few"))
    with pytest.raises(Rejected) as caught:
        validate([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert f"{tmp_path}/a.yaml:9: error VirtualService default/web" in str(caught.value)
    assert f"{tmp_path}/b.yaml:10: error VirtualService default/web" in str(caught.value)
