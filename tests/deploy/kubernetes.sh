#!/usr/bin/env bash
# tools/test.sh --kubernetes: builds the control plane unless it is there, and runs the test on it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=$("$here/../../tools/kubecp/build.sh")
definitions=$("$here/../../tools/deps/crds.sh")
python=$("$here/../../tools/deps/python.sh")/bin/python
exec "$python" "$here/kubernetes_test.py" "$programs" "$definitions"
