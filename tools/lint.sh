#!/usr/bin/env bash
# Style of the C++ files, by .clang-format and .clang-tidy.
#
#   tools/lint.sh               says which files clang-format would change; exit code 1 if any
#   tools/lint.sh --fix         changes them
#   tools/lint.sh --tidy FILE.. runs clang-tidy on these .cc files; needs a configured build/dev or
#                               build/release whose precompiled header was built
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One version for everybody: others format differently.
clang_format=clang-format-14
clang_tidy=clang-tidy-14

format() {
  local files
  mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.cc' '*.h')
  echo "lint.sh: ${#files[@]} files"
  printf '%s\0' "${files[@]}" | xargs -0 "$clang_format" --style=file "$@"
}

tidy() {
  local build=build/release
  if [[ -f build/dev/compile_commands.json ]]; then build=build/dev; fi
  # clang can't read GCC's precompiled header: give it the same includes as a plain header.
  local lint=build/lint
  mkdir -p "$lint"
  cp "$build/CMakeFiles/dtrpo_torch_pch.dir/cmake_pch.hxx" "$lint/torch_pch.h"
  sed -E "s#-include [^ \"]*cmake_pch.hxx#-include $PWD/$lint/torch_pch.h#g; s#-Winvalid-pch ##g;
          s#[^ \"]*cmake -E env [^\"]*ccache ##g; s#-Wno-restrict ##g" \
    "$build/compile_commands.json" >"$lint/compile_commands.json"
  "$clang_tidy" --quiet -p "$lint" "$@"
}

case ${1:-} in
  "") format --dry-run -Werror ;;
  --fix) format -i ;;
  --tidy) shift; tidy "$@" ;;
  *) sed -n '2,7p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
