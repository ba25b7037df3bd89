#!/bin/bash
# Start the lab with bookinfo afresh and serve productpage on 127.0.0.1:$1, the dashboard on 127.0.0.1:$2. For root, in the checkout.
set -euo pipefail
page_port=${1:?port for productpage} dashboard_port=${2:?port for the dashboard}
export PATH="$PWD/.venv/bin:$PATH"
tidegate lab down
tidegate lab up -f samples/bookinfo/namespace.yaml -f samples/bookinfo/bookinfo.yaml \
	-f samples/bookinfo/networking/destination-rules.yaml -f samples/httpbin/httpbin.yaml -f samples/sleep/sleep.yaml
tidegate lab expose svc/productpage 9080 --port "$page_port"
tidegate lab dashboard --port "$dashboard_port"
