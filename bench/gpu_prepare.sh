#!/usr/bin/env bash
# gpu_prepare.sh FILE.tar.xz [BUILD_DIR]: builds for a machine that has a GPU but perhaps no compiler, and packs all
# that bench/gpu_check.sh needs beside this repository: the program, the benchmarks, the test programs of kernels and
# models, and the shared libraries that they use. NVIDIA's BLAS and the driver are taken from that machine.
#
# ARCH is the compute capability, 90a if not set. With BUILT=1 what BUILD_DIR holds is packed as it is. Prints the
# sizes of what went in, and of the file.
set -euo pipefail
file=$(realpath -m "${1:?usage: gpu_prepare.sh FILE.tar.xz [BUILD_DIR]}")
build=$(realpath -m "${2:-$(dirname "${BASH_SOURCE[0]}")/../build/gpu}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=(models/unroll bench/unroll_bench tests/gpu_on_cpu/device/{fragments,models_on_gpu})
read -ra families < <(sed -n 's/^set(families \(.*\))$/\1/p' tests/kernels/CMakeLists.txt)
programs+=("${families[@]/#/tests/kernels/kernels_}")
if [[ ${BUILT:-} != 1 ]]; then
  # The processor of that machine is not known: plain x86-64 for our code, and libraries that look for themselves.
  # Programs find the libraries beside them, and so do those libraries (an RPATH, not a RUNPATH).
  mkdir -p "$build"
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DUNROLL_CUDA=ON -DUNROLL_BENCH=ON -DUNROLL_NATIVE=OFF \
    -DUNROLL_GPU_ON_CPU=ON -DCMAKE_CUDA_ARCHITECTURES="${ARCH:-90a}" -DCMAKE_SKIP_BUILD_RPATH=ON \
    -DCMAKE_EXE_LINKER_FLAGS="-Wl,--disable-new-dtags,-rpath,'\$ORIGIN/../lib:\$ORIGIN/../../lib:\$ORIGIN/../../../lib'" \
    > "$build/configure.log" || { cat "$build/configure.log" >&2; exit 1; }
  cmake --build "$build" --target "${programs[@]##*/}"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/lib"
for program in "${programs[@]}"; do
  mkdir -p "$folder/$(dirname "$program")"
  strip -o "$folder/$program" "$build/$program"
  # The C library belongs to the machine; NVIDIA's BLAS is too large, and there.
  ldd "$build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libcublas|libcublasLt|libcuda)\.so' | while read -r library; do
      cp -uL "$library" "$folder/lib/"
    done
done
echo "$(git describe --always --dirty), packed $(date -u '+%Y-%m-%d %H:%M') UTC" > "$folder/sources"
(cd "$folder" && find . -type f -printf '%9s %P\n' | sort -rn)
# A window over all programs: they hold the same kernels.
tar -C "$folder" -cf - . | xz -T1 --lzma2="preset=${LEVEL:-6},dict=256MiB" > "$file"
printf '%9s %s (%s bytes unpacked)\n' "$(stat -c %s "$file")" "$file" "$(du -sb "$folder" | cut -f 1)"
