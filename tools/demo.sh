#!/usr/bin/env bash
# The whole loop on this machine: installs, builds, trains the example's model, shows what it learnt.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
Usage: tools/demo.sh [options]

Installs what is missing, builds the services, starts them (`dtrpo up`), submits
examples/arithmetic/job.yaml and ends with the held-out accuracy before and after. A second run
skips what is there.

  --dir DIR        where data, logs and results go; default demo-run. What an earlier demo left in
                   DIR/cluster and DIR/output is replaced
  --keep-running   leave the services up at the end, and say how to stop them
  --no-install     don't look for missing packages and LibTorch
  --no-build       use build/release as it is
  -h, --help       this text

Results: DIR/report.html (curves and answers), DIR/summary.json, DIR/job.json, DIR/output (checkpoints).
Needs Debian 12, and root or sudo for the packages. Caches (LibTorch, ccache, crates) live outside
the tree: DTRPO_CACHE, default ~/.cache/dtrpo. DTRPO_LIBTORCH names your own LibTorch.
The last line of the output:
  demo: heldout_accuracy_before=X heldout_accuracy_after=Y steps=N seconds=S checkpoint=DIR
TEXT
}

example_dir=demo-run  # as the paths in job.yaml say
dir=$PWD/$example_dir
keep_running=no
install=yes
build=yes
while (($#)); do
  case $1 in
    --dir) dir=${2:?--dir needs a folder}; [[ $dir == /* ]] || dir=$caller/$dir; shift ;;
    --keep-running) keep_running=yes ;;
    --no-install) install=no ;;
    --no-build) build=no ;;
    -h | --help) usage; exit 0 ;;
    *) echo "demo.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
bin=build/release/bin
job_file=examples/arithmetic/job.yaml
mkdir -p "$dir/logs"
dir=$(cd "$dir" && pwd)

progress_pid=
stop_progress() {
  [[ -n $progress_pid ]] || return 0
  kill "$progress_pid" 2>/dev/null || true
  wait "$progress_pid" 2>/dev/null || true
  progress_pid=
}

cluster_pid=
stop_cluster() {
  [[ -n $cluster_pid ]] || return 0
  kill -TERM "$cluster_pid" 2>/dev/null || true
  wait "$cluster_pid" 2>/dev/null || true
  cluster_pid=
}

stage=
stage_log=
stage_started=0
stages=()
on_exit() {
  local code=$?
  stop_progress
  stop_cluster
  ((code == 0)) || [[ -z $stage ]] || echo "demo.sh: stage $stage failed; log: $stage_log" >&2
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

begin() {
  stage=$1
  stage_log=$dir/logs/$stage.log
  stage_started=$SECONDS
  echo "== $stage"
}
end() { stages+=("$stage $((SECONDS - stage_started)) s"); stage=; }

# The last line of the stage's log, now and then.
show_progress() {
  local shown='' line='' waited=0
  while sleep 1; do
    ((++waited % 15 == 0)) || continue
    line=$(tail -n 1 "$stage_log" | cut -c 1-100)
    if [[ $line != "$shown" ]]; then echo "   $line"; fi
    shown=$line
  done
}

# run STAGE COMMAND...: output goes to the stage's log. The command stays in the foreground, where
# Ctrl-C reaches it.
run() {
  begin "$1"
  shift
  : >"$stage_log"
  show_progress &
  progress_pid=$!
  local ended=well
  "$@" >"$stage_log" 2>&1 </dev/null || ended=badly
  stop_progress
  if [[ $ended == badly ]]; then tail -n 20 "$stage_log" >&2; exit 1; fi
  end
}

# One compiler per core, but no more than memory holds: a LibTorch file takes up to 1.5 GB.
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
if ((jobs > memory_gb * 2 / 3)); then jobs=$((memory_gb * 2 / 3)); fi
if ((jobs < 1)); then jobs=1; fi

if [[ $install == yes ]]; then run install tools/deps/install.sh; fi
if [[ $build == yes ]]; then
  if [[ ! -f build/release/build.ninja ]]; then run configure cmake --preset release; fi
  run build cmake --build build/release --parallel "$jobs" --target dtrpo dtrpoctl \
    dtrpo-coordinator dtrpo-replay dtrpo-reference dtrpo-learner dtrpo-rollout
fi
run data "$bin/dtrpo" make-arithmetic --output "$dir/data"

begin start
stage_log=$dir/logs/up.log
rm -rf "$dir/cluster" "$dir/output"
: >"$stage_log"  # the loop below reads it before the child has opened it
"$bin/dtrpo" up --dir "$dir/cluster" --port 0 >"$stage_log" 2>&1 </dev/null &
cluster_pid=$!
coordinator=
for ((tries = 0; tries < 600; ++tries)); do
  coordinator=$(sed -n 's/^up: coordinator=\([^ ]*\) .*/\1/p' "$stage_log")
  if [[ -n $coordinator ]]; then break; fi
  if ! kill -0 "$cluster_pid" 2>/dev/null; then break; fi
  sleep 0.1
done
if [[ -z $coordinator ]]; then tail -n 20 "$stage_log" >&2; exit 1; fi
cat "$stage_log"
ctl=("$bin/dtrpoctl" --address "$coordinator")
end

begin job
stage_log="$dir/logs/up.log and $dir/cluster/logs"
# The example names the default folder; paths are relative to the root of the repository.
sed "s#: $example_dir/#: $dir/#" "$job_file" >"$dir/job.yaml"
job_id=$("${ctl[@]}" submit "$dir/job.yaml")
"${ctl[@]}" watch "$job_id"
"${ctl[@]}" --json get "$job_id" --steps >"$dir/job.json"
end

begin report
"$bin/dtrpo" report --job "$dir/job.json" --output "$dir" >"$stage_log" 2>&1 || {
  cat "$stage_log" >&2
  exit 1
}
sed '$d' "$stage_log"
end

if [[ $keep_running == yes ]]; then
  echo "The services run on: dtrpoctl --address $coordinator; stop them with: kill $cluster_pid"
  cluster_pid=
else
  stop_cluster
fi
echo "== stages: $(printf '%s, ' "${stages[@]}")total $SECONDS s"
tail -n 1 "$stage_log" | sed 's/^report: /demo: /'
