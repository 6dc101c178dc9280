#!/usr/bin/env bash
# gpu_check.sh OUT_DIR [BUILD]: all that wants an NVIDIA GPU, the most valuable first, in 9 minutes.
#
# BUILD is what bench/gpu_prepare.sh packed elsewhere, or a build folder with UNROLL_CUDA, UNROLL_TESTS and
# UNROLL_BENCH; without it everything is built here first. Each step has its own time limit and its own log in OUT_DIR,
# which begins with the command; OUT_DIR/summary.txt has the machine and one line per step, and a step that fails does
# not stop the next. Comparisons write every figure to their log as it comes, and to a .jsonl beside it. ARCHIVE holds
# all of OUT_DIR but weights and texts, as of the step that ended last.
#
#   ARCHIVE        OUT_DIR.tar.gz if not set
#   UNROLL_PTB     folder with the Penn Treebank: training, and its speed beside PyTorch's
#   CPU_TEST_PPL   test perplexity of zaremba-small on the CPU that the GPU's is compared with
#   PYTHON         an interpreter with PyTorch, python3 if not set
#   MINUTES        for all steps, whole ones, 9 if not set; a build here comes before
#   STEPS          a regular expression that picks steps by name
#   QUICK=1        every step at small sizes, on the CPU where there is no GPU: a rehearsal
set -uo pipefail
invocation="$0 $*"
out=$(mkdir -p "${1:?usage: gpu_check.sh OUT_DIR [BUILD]}" && cd "$1" && pwd)
build=$(realpath -m "${2:-.}")
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
[[ $# -ge 2 ]] || build=$PWD/build/gpu
python=${PYTHON:-python3}
deadline=$((SECONDS + ${MINUTES:-9} * 60))
archive=${ARCHIVE:-$out.tar.gz}
summary=$out/summary.txt
: > "$summary"
unpacked=

# Replaced as a whole, so that a run that is killed leaves the one before.
pack() {
  tar -C "$(dirname "$out")" --exclude='*.safetensors*' --exclude='*.unroll-tokens' --warning=no-file-changed \
    -czf "$archive.new" "${out##*/}"
  mv "$archive.new" "$archive"
}
finish() {
  [[ -z $unpacked ]] || rm -rf "$unpacked"
  pack
}
trap finish EXIT

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
  printf '$ %s\n' "$*" > "$out/$name.log"
  timeout --kill-after=5 "$limit" "$@" >> "$out/$name.log" 2>&1 < /dev/null || status=$?
  say "$(printf '%-28s %-8s %4d s  %s' "$name" "$([[ $status == 0 ]] && echo ok || echo "FAILED $status")" \
    $((SECONDS - start)) "$(sed 1d "$out/$name.log" | grep -aE "${LAST_LINE:-.}" | tail -n 1 | cut -c 1-120)")"
  ((BASH_SUBSHELL)) || pack  # one beside others leaves it to the next
  return $status
}

build_all() {
  local tests
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DUNROLL_CUDA=ON -DUNROLL_BENCH=ON || return
  tests=$(ctest --test-dir "$build" -N -L '^cuda$' | sed -n 's/.*Test *#[0-9]*: //p') || return
  # shellcheck disable=SC2086
  cmake --build "$build" -j "$(nproc)" --target unroll unroll_bench $tests
}

# What gpu_prepare.sh packed, and beside it this machine's BLAS: of a toolkit, or of Python's packages.
unpack() {
  # Not every machine has xz; Python unpacks without it.
  mkdir "$2" && { tar -C "$2" -xJf "$1" || "$python" -m tarfile -e "$1" "$2"; } || return
  local name found
  for name in libcublas.so.13 libcublasLt.so.13; do
    found=$(find -L /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib \
      "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2> /dev/null)/nvidia" \
      -name "$name" 2> /dev/null | head -n 1)
    found=${found:-$(ldconfig -p | awk -v name="$name" '$1 == name { print $NF; exit }')}
    [[ -n $found ]] || { echo "no $name on this machine" && return 1; }
    ln -s "$found" "$2/lib/$name"
  done
}

# Test programs of the build that have tests on a GPU, those of the recurrent layers first; programs named gpu_ execute
# kernels on the CPU.
cuda_tests() {
  local program tests
  find "$build/tests" -type f -perm -u+x ! -name 'gpu_*' ! -name '*.*' 2> /dev/null | sort |
    sed '/recurrent/!s/^/1 /; /recurrent/s/^/0 /' | sort -s -k 1,1 | cut -d ' ' -f 2- | while read -r program; do
    tests=$("$program" --gtest_list_tests 2> /dev/null)
    if [[ $tests =~ [Cc]uda|CUDA|Fragments|Captured ]]; then echo "$program"; fi
  done
}

# The recipe on a GPU; the peak of the driver's figure for memory beside the program's estimate.
train() {
  local precision=$1 run=$out/zaremba-small-$1 peak=0 used pid status=0
  rm -rf "$run"
  # shellcheck disable=SC2086
  "$unroll" train --recipe zaremba-small --data "$UNROLL_PTB" --out "$run" --device "$device" --precision "$precision" \
    ${QUICK:+--max-steps 4} &
  pid=$!
  # A step that ends says so and saves; a kernel that does not end would run on beside all that follows.
  trap 'kill -TERM $pid; sleep 2; kill -KILL $pid 2> /dev/null; wait $pid 2> /dev/null; echo "peak memory by the driver: $peak MiB"; exit 143' TERM
  while kill -0 $pid 2> /dev/null; do
    used=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2> /dev/null |
      sed -n "s/^$pid, *\([0-9]*\).*/\1/p")
    if ((${used:-0} > peak)); then peak=$used; fi
    sleep 1
  done
  wait $pid || status=$?
  echo "peak memory by the driver: $peak MiB"
  [[ -n ${QUICK:-} ]] || "$unroll" eval "$run" "$UNROLL_PTB"/*test* --json > "$run/test.json" || status=$?
  return $status
}

test_ppl() { sed -E 's/.*"ppl":([0-9.]+).*/\1/' "$out/zaremba-small-$1/test.json"; }

# Test perplexity $2 of precision $1 is within 1 % of the CPU's.
within_1_percent() {
  awk -v gpu="$2" -v cpu="$CPU_TEST_PPL" -v what="$1" 'BEGIN {
    d = 100 * (gpu / cpu - 1); printf "%s: test ppl %s, CPU %s: %+.2f %%\n", what, gpu, cpu, d
    exit !(d < 1 && d > -1) }'
}
export -f build_all unpack train within_1_percent
export build out python

# --- the machine, and something to run on it --------------------------------------------------------

device=cuda
if ! nvidia-smi > /dev/null 2>&1; then
  [[ -n ${QUICK:-} ]] || { say "no GPU: nvidia-smi finds none; QUICK=1 rehearses on the CPU" && exit 1; }
  device=cpu
fi
export device
gpu() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2> /dev/null | head -n 1; }
if [[ $device == cuda ]]; then
  machine="$(gpu name), compute capability $(gpu compute_cap), driver $(gpu driver_version), $(gpu memory.total),"
  machine+=" at most $(gpu clocks.max.sm)"
else
  machine=$(sed -n 's/^model name.*: /CPU alone: /p' /proc/cpuinfo | head -n 1)
fi
say "$(date -u '+%Y-%m-%d %H:%M') UTC, $machine"
say "$ $invocation"
say "sources $(git rev-parse --short HEAD 2> /dev/null || echo without git)"
say "$("$python" -c 'import torch; print("PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version())' 2>&1 |
  tail -n 1)"
if [[ $# -lt 2 ]]; then
  LAST_LINE='error|FAILED|\[[0-9]+/' step build $((deadline - SECONDS)) bash -c build_all || exit 1
  deadline=$((SECONDS + ${MINUTES:-9} * 60))
elif [[ -f $build ]]; then
  packed=$build unpacked=$(mktemp -d)
  build=$unpacked/unroll
  STEPS='' step unpack 60 bash -c "unpack '$packed' '$build'" || exit 1
  say "packed sources $(cat "$build/sources")"
fi
export unroll=$build/models/unroll
bench=$build/bench/unroll_bench

# beside NAME LIMIT SCRIPT ARGUMENT..: a comparison with PyTorch.
beside() {
  local name=$1 limit=$2 script=$3
  shift 3
  rm -f "$out/$name.jsonl"
  step "$name" "$limit" "$python" -u "bench/models/$script.py" --unroll "$unroll" --python "$python" \
    --device "$device" --json "$out/$name.jsonl" ${QUICK:+--quick} "$@"
}
tokens() {
  [[ -n ${UNROLL_PTB:-} ]] || return 0
  beside "$1" "$2" tokens_per_second --data "$UNROLL_PTB" --rounds 1 --recipe "${@:3}"
}
# The recipe in a precision, what it used and how near it is to the CPU's perplexity.
train_step() {
  LAST_LINE='^test ppl|unroll:' step "zaremba-small-$1" "$2" bash -c "train $1"
  grep -hE '^memory|^peak memory|words/s;' "$out/zaremba-small-$1.log" 2> /dev/null | tail -n 3 | tee -a "$summary"
  if [[ -n ${CPU_TEST_PPL:-} && -f $out/zaremba-small-$1/test.json ]]; then
    step "same-as-cpu-$1" 10 bash -c "within_1_percent $1 $(test_ppl "$1")"
  fi
}
# What only a GPU has.
if [[ $device == cuda ]]; then
  best=bf16 narrow=(fp16) every=(fp16 bf16 tf32 fp32) variant=graphed
else
  best=fp32 narrow=(fp32) every=(fp32) variant=eager
fi
# Graphs of chunks of random length are captured as they come: most of them before the clock starts.
awd=(awd-lstm --warmup 200 --intervals 2)
zaremba=(zaremba-small zaremba-medium --warmup 50)

# --- is it right ------------------------------------------------------------------------------------

step selftest 20 "$unroll" selftest
if [[ $device == cuda ]]; then
  # All at once, where the GPU serves several processes; a wait between blocks that has no end is given up.
  at_once=1 tests_end=$((SECONDS + 140))
  [[ $(gpu compute_mode) != Default ]] || at_once=$(nproc)
  export UNROLL_PERSISTENT_TIMEOUT=20000000 OMP_WAIT_POLICY=passive
  programs=$(cuda_tests)
  [[ -n $programs ]] || say "$(printf '%-28s FAILED: no program in %s starts and lists some' tests "$build/tests")"
  for program in $programs; do
    name=$(basename "$program") shards=1
    [[ $name != kernels_recurrent ]] || shards=8
    for ((shard = 0; shard < shards; ++shard)); do
      while (($(jobs -rp | wc -l) >= at_once)); do wait -n; done
      LAST_LINE='FAILED|PASSED|tests? ran' step "test-$name$( ((shards == 1)) || echo "-$shard")" \
        $((tests_end - SECONDS)) env UNROLL_POISON=1 GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard \
        "$program" --gtest_brief=1 &
    done
  done
  wait
  # Unset for what is timed: a wait that can be given up takes longer, and training would wait for each pass.
  unset UNROLL_PERSISTENT_TIMEOUT OMP_WAIT_POLICY
  step record-fragments 10 env UNROLL_RECORD_FRAGMENTS="$out/fragments.txt" "$build/tests/gpu_on_cpu/device/fragments"
fi

if [[ -n ${UNROLL_PTB:-} ]]; then
  train_step "$best" 75
else
  say "training: UNROLL_PTB is not set"
fi

# --- how fast: first what binds, then the figures that matter most ------------------------------------

# The limits up to tokens-awd make up the time there is.
beside recurrent-lstm 110 recurrent --cells lstm --precisions bf16 --parts layers --repeats 3
beside softmax 70 softmax --precision "$best" --rounds 1
beside update 60 update --precision "$best" --rounds 1 --rules sgd asgd adam
tokens tokens-awd 70 "${awd[@]}" --precision "$best" --variant $variant --peer-precisions "${narrow[@]}"
if [[ -n ${UNROLL_PTB:-} ]]; then
  size=(--max-steps 103)
  [[ -z ${QUICK:-} ]] || size=(--max-steps 6 --emb 40 --hidden 60 --hidden-last 40)
  rm -rf "$out/profile-awd"
  LAST_LINE='one after another' step profile-awd 40 "$unroll" train --recipe awd-lstm --data "$UNROLL_PTB" \
    --out "$out/profile-awd" --device "$device" --precision "$best" --profile "${size[@]}"
  if [[ $device == cuda ]]; then train_step fp32 75; fi
fi
[[ $device == cpu ]] || beside recurrent-constants 40 recurrent --parts constants

# --- tools, where there are any ----------------------------------------------------------------------

if [[ $device == cuda ]] && command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck; do
    LAST_LINE='ERROR SUMMARY|RACECHECK SUMMARY' step "sanitizer-$tool" 40 compute-sanitizer --tool "$tool" \
      --error-exitcode 9 "$build/tests/kernels/kernels_recurrent" --gtest_brief=1 --gtest_filter='*EqualsOracle/cuda_*'
  done
else
  say "compute-sanitizer: not run"
fi
if [[ $device == cuda ]] && command -v ncu > /dev/null; then
  for pass in forward backward; do
    # The clocks stay as they are.
    step "ncu-$pass" 40 ncu --clock-control none --set detailed --kernel-name regex:persistent_ --launch-count 2 \
      "$bench" --device cuda --precision bf16 --benchmark_min_time=0.001 \
      --benchmark_filter="^recurrent_$pass/lstm/persistent/T70/B20/H1150/"
  done
else
  say "ncu: not run"
fi

# --- the rest of the tables --------------------------------------------------------------------------

beside recurrent-stacks 60 recurrent --parts stacks --cells lstm --precisions bf16 --repeats 3
tokens tokens-zaremba 60 "${zaremba[@]}" --precision "$best" --variant $variant --peer-precisions "${narrow[@]}"
if [[ -n ${UNROLL_PTB:-} ]]; then
  beside compare-precisions 120 compare_precisions --data "$UNROLL_PTB"
fi
beside recurrent-gru-tanh 120 recurrent --cells gru tanh --precisions bf16 --parts layers --repeats 3
beside softmax-compiled 90 softmax --precision "$best" --rounds 1 --compile
beside update-all 90 update --precision "$best" --rounds 1
beside recurrent-f32 150 recurrent --cells lstm --precisions tf32 fp32 --parts layers --repeats 3
tokens tokens-awd-best 240 "${awd[@]}" --precision "$best" --peer-precisions "${every[@]}"
tokens tokens-zaremba-best 240 "${zaremba[@]}" --precision "$best" --peer-precisions "${every[@]}"
for p in $([[ $device == cuda ]] && echo bf16 fp32 tf32 || echo fp32); do
  step "bench-$p" 60 "$bench" --device "$device" --precision "$p" --benchmark_min_time=0.02 \
    --benchmark_filter='-^(recurrent|softmax|update|output_layer)' --benchmark_out="$out/bench-$p.json" ${QUICK:+--quick}
done
step "bench-output-layer" 90 "$bench" --device "$device" --precision "$best" --benchmark_min_time=0.02 \
  --benchmark_filter=^output_layer --benchmark_out="$out/bench-output-layer.json" ${QUICK:+--quick}
say "$(date -u '+%Y-%m-%d %H:%M') UTC, after $SECONDS s"
! grep -q FAILED "$summary"
