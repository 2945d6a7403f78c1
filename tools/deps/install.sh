#!/usr/bin/env bash
# Installs what building and testing needs on Debian 12, then fetches LibTorch and the Python
# packages of the tests. Run as root or with
# sudo at hand. Does nothing, quickly, when everything is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

packages=(
  # Tools: build, precompiled-header cache, linker, format, static analysis, fuzzers.
  cmake ninja-build g++ ccache mold pkg-config git curl ca-certificates unzip
  python3 python3-venv clang-format-14 clang-tidy-14 clang-14 libclang-rt-14-dev
  # Talking: gRPC, protobuf, metrics, configuration files, flags.
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev libssl-dev
  prometheus-cpp-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libzstd-dev
  # Rewards: patterns in linear time, JSON schemas, exact fractions.
  libre2-dev libvalijson-dev libgmp-dev
  # Collectives on CPU: the LibTorch wheel holds c10d's Gloo backend but not Gloo's headers.
  libgloo-dev
  # Stores: embedded and shared. The server is for tests, which start their own (libpq needs none).
  librocksdb-dev libpq-dev postgresql
  libgtest-dev libgmock-dev libbenchmark-dev
  # Answers' code is run by tests in a sandbox.
  bubblewrap
  # Reports are opened and clicked through in a real browser.
  chromium
  # Dashboards and alert rules are tested against a real Prometheus, which the tests start.
  prometheus
)

# The tokenizer crates need a Rust newer than Debian 12's default; its cargo-web package has one.
minimum_cargo=1.85
cargo_version=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
if [[ -z $cargo_version ]] ||
   [[ $(printf '%s\n' "$minimum_cargo" "$cargo_version" | sort -V | head -n1) != "$minimum_cargo" ]]
then
  packages+=(cargo-web)
fi

# Kustomize is built from Go modules; Debian's Go can fetch the one that it needs (go.sh).
if [[ ${1:-} != --packages ]] && ! command -v go >/dev/null; then packages+=(golang-go); fi

started=$SECONDS
missing=()
for package in "${packages[@]}"; do
  if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
    missing+=("$package")
  fi
done

if ((${#missing[@]})); then
  echo "install.sh: installing ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then as_root=(sudo); fi
  # Another apt (unattended upgrades) may hold the lock for a while.
  # RUNLEVEL=1: packages with a service (PostgreSQL) don't start it.
  apt=("${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
       apt-get -qq -o DPkg::Lock::Timeout=120
       -o Acquire::Retries=3)
  "${apt[@]}" update
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null </dev/null
fi
echo "install.sh: ${#packages[@]} packages present ($((SECONDS - started)) s)"
if [[ ${1:-} == --packages ]]; then exit 0; fi

started=$SECONDS
libtorch=$("$here/libtorch.sh")
echo "install.sh: LibTorch in $libtorch ($((SECONDS - started)) s)"

started=$SECONDS
environment=$("$here/python.sh")
echo "install.sh: Python packages in $environment ($((SECONDS - started)) s)"

started=$SECONDS
kustomize=$("$here/kustomize.sh")
echo "install.sh: kustomize in ${kustomize%/*} ($((SECONDS - started)) s)"
