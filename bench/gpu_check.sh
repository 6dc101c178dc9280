#!/usr/bin/env bash
# gpu_check.sh OUT_DIR [BUILD_DIR]: all that wants an NVIDIA GPU, the most valuable first, in under 10 minutes.
#
# With BUILD_DIR (a build with UNROLL_CUDA, UNROLL_TESTS and UNROLL_BENCH, perhaps made elsewhere) nothing is
# built. Each step has its own log in OUT_DIR; OUT_DIR/summary.txt has one line per step, and a step that fails
# does not stop the next. UNROLL_PTB names a folder with the Penn Treebank; CPU_TEST_PPL is the test perplexity of
# zaremba-small on the CPU that the GPU's is compared with. MINUTES is the time for all steps, 10 if not set;
# STEPS, a regular expression, picks steps by name.
set -uo pipefail
out=$(mkdir -p "${1:?usage: gpu_check.sh OUT_DIR [BUILD_DIR]}" && cd "$1" && pwd)
build=$(realpath -m "${2:-.}")
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
[[ $# -ge 2 ]] || build=$PWD/build/gpu
deadline=$((SECONDS + ${MINUTES:-10} * 60))
summary=$out/summary.txt
: > "$summary"

say() { echo "$*" | tee -a "$summary"; }

# step NAME LIMIT COMMAND..: at most LIMIT seconds, and never past the deadline.
step() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  [[ $name =~ ${STEPS:-} ]] || return 0
  ((limit < deadline - SECONDS)) || limit=$((deadline - SECONDS))
  if ((limit < 5)); then
    say "$(printf '%-28s no time left' "$name")"
    return 1
  fi
  timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
  say "$(printf '%-28s %-8s %4d s  %s' "$name" "$([[ $status == 0 ]] && echo ok || echo "FAILED $status")" \
    $((SECONDS - start)) "$(grep -E "${LAST_LINE:-.}" "$out/$name.log" | tail -n 1 | cut -c 1-120)")"
  return $status
}

build_all() {
  local tests
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DUNROLL_CUDA=ON -DUNROLL_BENCH=ON || return
  tests=$(ctest --test-dir "$build" -N -L '^cuda$' | sed -n 's/.*Test *#[0-9]*: //p') || return
  # shellcheck disable=SC2086
  cmake --build "$build" -j "$(nproc)" --target unroll unroll_bench $tests
}

# Test programs of the build that have tests on a GPU; those named gpu_ execute kernels on the CPU.
cuda_tests() {
  local program
  find "$build/tests" -type f -perm -u+x ! -name 'gpu_*' ! -name '*.*' 2> /dev/null | sort | while read -r program; do
    if "$program" --gtest_list_tests 2> /dev/null | grep -qiE 'cuda|Fragments'; then echo "$program"; fi
  done
}

# The recipe on a GPU; the peak of the driver's figure for memory beside the program's estimate.
train() {
  local precision=$1 run=$out/zaremba-small-$1 peak=0 used pid status=0
  rm -rf "$run"
  "$unroll" train --recipe zaremba-small --data "$UNROLL_PTB" --out "$run" --device cuda --precision "$precision" &
  pid=$!
  while kill -0 $pid 2> /dev/null; do
    used=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits |
      sed -n "s/^$pid, *\([0-9]*\).*/\1/p")
    if ((${used:-0} > peak)); then peak=$used; fi
    sleep 1
  done
  wait $pid || status=$?
  echo "peak memory by the driver: $peak MiB"
  "$unroll" eval "$run" "$UNROLL_PTB"/*test* --json > "$run/test.json" || status=$?
  return $status
}

test_ppl() { sed -E 's/.*"ppl":([0-9.]+).*/\1/' "$out/zaremba-small-$1/test.json"; }

# Test perplexity $2 of precision $1 is within 1 % of the CPU's.
within_1_percent() {
  awk -v gpu="$2" -v cpu="$CPU_TEST_PPL" -v what="$1" 'BEGIN {
    d = 100 * (gpu / cpu - 1); printf "%s: test ppl %s, CPU %s: %+.2f %%\n", what, gpu, cpu, d
    exit !(d < 1 && d > -1) }'
}
export -f build_all train within_1_percent
export build out

say "$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader 2>&1 | tail -n 1)"
if [[ $# -lt 2 ]]; then
  LAST_LINE='error|FAILED|\[[0-9]+/' step build 420 bash -c build_all || exit 1
fi
export unroll=$build/models/unroll

step selftest 60 "$unroll" selftest
for program in $(cuda_tests); do
  LAST_LINE='FAILED|PASSED|tests? ran' step "test-$(basename "$program")" 120 "$program" --gtest_brief=1
done
if [[ -x $build/tests/gpu_on_cpu/fragments ]]; then
  step record-fragments 30 env UNROLL_RECORD_FRAGMENTS="$out/fragments.txt" "$build/tests/gpu_on_cpu/fragments"
fi
if [[ -n ${UNROLL_PTB:-} ]]; then
  for precision in fp32 bf16; do
    LAST_LINE='^test ppl|unroll:' step "zaremba-small-$precision" 150 bash -c "train $precision"
    grep -hE '^memory|^peak memory|words/s;' "$out/zaremba-small-$precision.log" 2> /dev/null | tail -n 3 | tee -a "$summary"
    if [[ -n ${CPU_TEST_PPL:-} && -f $out/zaremba-small-$precision/test.json ]]; then
      step "same-as-cpu-$precision" 10 bash -c "within_1_percent $precision $(test_ppl $precision)"
    fi
  done
else
  say "zaremba-small: UNROLL_PTB is not set"
fi
for precision in fp32 tf32 bf16; do
  step "bench-$precision" 60 "$build/bench/unroll_bench" --device cuda --precision "$precision" --benchmark_min_time=0.1
done
if "${PYTHON:-python3}" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null && [[ -n ${UNROLL_PTB:-} ]]; then
  step pytorch 120 bench/models/tokens_per_second.py --unroll "$unroll" --data "$UNROLL_PTB" --device cuda --rounds 3 \
    --warmup 100
else
  say "pytorch: no PyTorch with CUDA, not compared"
fi
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck; do
    LAST_LINE='ERROR SUMMARY|RACECHECK SUMMARY' step "sanitizer-$tool" 90 compute-sanitizer --tool "$tool" \
      --error-exitcode 9 "$build/tests/kernels/kernels_recurrent" --gtest_brief=1 --gtest_filter='*cuda_f32*'
  done
else
  say "compute-sanitizer: not found"
fi
if command -v ncu > /dev/null; then
  step ncu 60 ncu --set basic --launch-count 20 "$build/bench/unroll_bench" --device cuda \
    --benchmark_filter=recurrent --benchmark_min_time=0.01
else
  say "ncu: not found"
fi
! grep -q FAILED "$summary"
