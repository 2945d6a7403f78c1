#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test, prints the totals.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: tools/test.sh [options]

  --fast             leave out the tests labelled "slow"
  --preset NAME      dev, release (default), asan or tsan
  --filter REGEX     only the tests whose names match (as ctest -R)
  --no-install       don't look for missing packages and LibTorch
  --kubernetes       instead: deploy/ on a real Kubernetes control plane without machines; the first
                     time builds it (10 minutes of CPU)
  --images           instead: builds the images of docker/ and runs a job in them; as root, minutes to
                     an hour of CPU the first time, 10 GB of disk
  --target NAME      with --images: only light, cpu or reward; may be said several times
  -h, --help         this text

Needs Debian 12 and root or sudo for the packages. Caches (LibTorch, ccache, crates) live outside the
tree: DTRPO_CACHE, default ~/.cache/dtrpo. DTRPO_LIBTORCH names your own LibTorch.
Exit code: 0 when every test passed.
TEXT
}

preset=release
install=yes
instead=
targets=()
ctest_options=()
while (($#)); do
  case $1 in
    --fast) ctest_options+=(--label-exclude '^slow$') ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --filter) ctest_options+=(--tests-regex "${2:?--filter needs a regex}"); shift ;;
    --no-install) install=no ;;
    --kubernetes | --images) instead=${1#--} ;;
    --target) targets+=(--target "${2:?--target needs a name}"); shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}

if ((${#targets[@]})) && [[ $instead != images ]]; then echo "test.sh: --target belongs to --images" >&2; exit 2; fi
if [[ -n $instead ]]; then exec tests/deploy/"$instead".sh "${targets[@]}"; fi

# One compiler per core, but no more than memory holds: a LibTorch file takes up to 1.5 GB.
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
if ((jobs > memory_gb * 2 / 3)); then jobs=$((memory_gb * 2 / 3)); fi
if ((jobs < 1)); then jobs=1; fi

stages=()
stage() {
  local name=$1 started=$SECONDS
  shift
  echo "== $name"
  "$@"
  stages+=("$name $((SECONDS - started)) s")
}

build=build/$preset
if [[ $install == yes ]]; then
  stage install tools/deps/install.sh
  # So that every run proves that the CUDA build compiles and links (tests/cuda).
  stage install_cuda tools/deps/cuda.sh
fi
stage configure cmake --preset "$preset"
stage build cmake --build "$build" --parallel "$jobs"

failed=no
results=$build/test_results.xml
run_tests() {
  ctest --test-dir "$build" --parallel 2 --output-on-failure --no-tests=error \
    --output-junit "$PWD/$results" "${ctest_options[@]}" || failed=yes
}
rm -f "$results"
stage test run_tests

echo "== stages: $(printf '%s, ' "${stages[@]}")total $SECONDS s"
python3 tools/test_totals.py "$results" || failed=yes
[[ $failed == no ]]
