#!/usr/bin/env python3
"""Rules of the house that no compiler checks. Prints file:line: message for each violation and exits 1.

  lint.py door     kernels reach the GPU only through kernels/base/gpu.h
  lint.py layers   who may include whom
  lint.py length   no file longer than 400 lines, tests 500
  lint.py all

The tree is that of this file unless --root says otherwise. Tested by lint_test.py.
"""
import argparse
import fnmatch
import pathlib
import re
import sys

SOURCES = {".h", ".cc", ".cu", ".cuh", ".def", ".in"}
FOLDERS = ("kernels", "host", "models", "tests", "bench")


def sources(root, folders=FOLDERS):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                yield path.relative_to(root).as_posix(), path.read_text(errors="replace")


def without_comments(text, keep_strings=False):
    """The text with comments, and unless asked otherwise strings, blanked; lines stay where they are."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/") or not keep_strings:
            return re.sub(r"[^\n]", " ", token)
        return token
    return re.sub(r'//[^\n]*|/\*.*?\*/|R"\((.*?)\)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank,
                  text, flags=re.S)


# --- the door ---------------------------------------------------------------------------------------

BODIES = ("kernels/base/gpu.h", "kernels/base/gpu_*.h")
CUDA_WORDS = [  # pattern, what to use, files that may
    (r"<<<", "gpu::launch", ()),
    (r"\b__shared__\b", "GPU_SHARED or GPU_DYN_SHARED", ()),
    (r"\b(asm|__asm__)\b", "a wrapper in kernels/base/gpu.h", ()),
    (r"\b__global__\b|\b__launch_bounds__\b", "GPU_KERNEL, GPU_KERNEL_BOUNDS", ()),
    (r"\b__device__\b|\b__host__\b|\b__forceinline__\b", "GPU_DEVICE or GPU_HD",
     ("kernels/base/host_device.h",)),
    (r"\b__constant__\b", "kernel parameters", ()),
    (r"\bvolatile\b", "gpu::load_relaxed or gpu::load_acquire", ()),
    (r"\b__(syncthreads|syncwarp)\w*", "gpu::sync_threads, gpu::sync_warp", ()),
    (r"\b__(shfl|ballot|any|all|match|reduce)_\w*sync\b|\b__activemask\b", "the warp functions of gpu::", ()),
    (r"\b__cluster\w+", "gpu::cluster_sync, gpu::cluster_map", ()),
    (r"\b__threadfence\w*", "gpu::fence", ()),
    (r"\batomic(Add|Sub|Max|Min|Exch|CAS|And|Or|Xor|Inc|Dec)\w*", "the atomics of gpu::", ()),
    (r"\b__ldg\b|\b__ldc[gsv]\b|\b__st[a-z]{2}\b", "gpu::load_vec", ()),
    # Scalar functions take the device's own exp, tanh and rounding on a GPU.
    (r"\b__CUDA_ARCH__\b", "one text for both compilers",
     ("kernels/base/dtype.h", "kernels/base/math.h")),
    (r"\bcudaLaunch\w+", "gpu::launch", ()),
    (r"\bcuda(Malloc|Free|Memcpy|Memset|\w+Synchronize)\w*",
     "memory from the caller: kernels never allocate, copy or synchronise", ()),
]
CUDA_INCLUDES = [
    (r"<cub/|<thrust/", "kernels/base/device_algorithms.h", ("kernels/base/device_algorithms_cuda.cu",)),
    (r"<cooperative_groups|<cuda/|<mma\.h>|<curand", "kernels/base/gpu.h", ()),
]


def door(root):
    found = []
    for name, text in sources(root, ("kernels",)):
        if any(fnmatch.fnmatch(name, body) for body in BODIES):
            continue
        code, lines = without_comments(text), text.splitlines()
        for pattern, instead, allowed in CUDA_WORDS:
            if name in allowed:
                continue
            for match in re.finditer(pattern, code):
                line = code.count("\n", 0, match.start())
                found.append((name, line + 1, f"{match.group(0)} outside kernels/base/gpu.h; use {instead}"))
        for pattern, instead, allowed in CUDA_INCLUDES:
            if name in allowed:
                continue
            for i, line in enumerate(lines):
                if re.match(r"\s*#\s*include\s*(" + pattern + ")", line):
                    found.append((name, i + 1, f"{line.strip()}; use {instead}"))
    return found


# --- layers -----------------------------------------------------------------------------------------

CUDA_HEADER = r"<(cuda|cublas|cusparse|curand|cooperative_groups|cub/|thrust/|nvtx|mma\.h)"
KERNEL_FAMILIES_FOR_ALL = ("kernels/base/*.h", "kernels/gemm/*.h", "kernels/cells/*")
HOST_CORE = ("host/device/*.h", "host/memory/*.h")
ALL_HOST = HOST_CORE + ("host/tape/*.h", "host/ops/*.h", "host/data/*.h", "host/optim/*.h", "host/train/*.h",
                        "host/io/*.h", "host/ngram/*.h", "host/mix/*.h", "host/score/*.h")
# A model sees shapes, names of cells and kinds of errors.
PLAIN_NOUNS = ("kernels/base/dims.h", "kernels/base/error.h", "kernels/base/dtype.h", "kernels/cells/cells.h")

# Files (first match counts), what they may include of ours, whether CUDA headers.
LAYERS = [
    ("kernels/base/gpu.h", ("kernels/base/*", "tests/gpu_on_cpu/*.h"), False),
    ("kernels/base/gpu_*.h", ("kernels/base/*",), True),
    ("kernels/base/cuda_check.h", ("kernels/base/*",), True),
    ("kernels/*_cuda.cu", ("kernels/*",), True),
    ("kernels/*.cuh", ("kernels/*",), True),
    ("kernels/*.h", KERNEL_FAMILIES_FOR_ALL + ("{family}/*.h",), False),
    ("kernels/*", ("kernels/*.h", "kernels/*.def"), False),
    ("host/device/*.cc", ("kernels/base/*.h",) + HOST_CORE, True),
    ("host/memory/*.cc", ("kernels/base/*.h",) + HOST_CORE, True),
    ("host/device/*", ("kernels/base/*.h",) + HOST_CORE, False),
    ("host/memory/*", ("kernels/base/*.h",) + HOST_CORE, False),
    ("host/tape/*", ("kernels/*.h",) + HOST_CORE + ("host/tape/*.h", "host/ops/*.h"), False),
    ("host/ops/*", ("kernels/*.h",) + HOST_CORE + ("host/tape/*.h", "host/ops/*.h"), False),
    ("host/*", ("kernels/base/*.h", "kernels/update/*.h", "kernels/cells/cells.h") + ALL_HOST, False),
    ("models/cli/*", PLAIN_NOUNS + ("host/device/*.h", "host/data/*.h", "host/optim/*.h",
                                    "host/train/*.h", "host/io/*.h", "host/ngram/*.h", "host/mix/*.h",
                                    "host/score/*.h", "models/*.h"), False),
    ("models/unroll.h", ALL_HOST + ("models/*.h",), False),  # the header of the library's users
    ("models/*", PLAIN_NOUNS + ("host/tape/*.h", "host/ops/*.h", "host/train/model.h",
                                "host/train/state.h", "models/*.h"), False),
    ("tests/*", ("*",), True),
    ("bench/*", ("*",), True),
]

# Single arrows against the table, each with its reason.
EXCEPTIONS = {
    # Under nvcc bf16 rounds by the device's instruction.
    ("kernels/base/dtype.h", "<cuda_bf16.h>"),
    # The bf16 shadow of the weights is recast where the weights are owned.
    ("host/memory/param_store.cc", "kernels/update/exchange.h"),
    ("host/memory/param_store.h", "kernels/update/pieces.h"),
    # Gradients of one step are added up where its parts are scheduled.
    ("host/train/scheduler.cc", "kernels/elementwise/add.h"),
    # A model says how its recurrent layers walk through time, and why, for the log.
    ("host/train/model.h", "kernels/recurrent/schedule.h"),
    # A recurrent layer reads and overwrites the carried (h, c).
    ("host/ops/recurrent_layer.h", "host/train/state.h"),
    # The registry makes models from a configuration; it composes nothing itself.
    ("models/registry.h", "host/io/config.h"),
    ("models/registry.h", "host/memory/param_store.h"),
    ("models/recipes/recipes.cc", "host/io/parse.h"),
    # The output layer is chosen by the configuration and the counts of words.
    ("models/registry.h", "host/data/vocab.h"),
    ("models/softmax_choice.h", "host/io/config.h"),
    ("models/softmax_choice.h", "host/data/vocab.h"),
}


def may_include(name, included, allowed):
    family = name.rsplit("/", 1)[0]
    if included.endswith(".cuh") and not name.endswith((".cu", ".cuh")) and name.startswith("kernels"):
        return False
    if (name, included) in EXCEPTIONS:
        return True
    return any(fnmatch.fnmatch(included, p.format(family=family)) for p in allowed)


def layers(root):
    found = []
    for name, text in sources(root):
        _, allowed, cuda = next(rule for rule in LAYERS if fnmatch.fnmatch(name, rule[0]))
        for i, line in enumerate(without_comments(text, keep_strings=True).splitlines()):
            match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|(<[^>]+>))', line)
            if not match:
                continue
            own, system = match.groups()
            if own and not (root / own).exists():
                if not own.endswith(".inc"):  # generated into the build folder
                    found.append((name, i + 1, f'includes "{own}", which is not a path from the root'))
            elif own and not may_include(name, own, allowed):
                found.append((name, i + 1, f"{name} must not include {own}"))
            elif system and not cuda and re.match(CUDA_HEADER, system) and (name, system) not in EXCEPTIONS:
                found.append((name, i + 1, f"{name} must not include {system}"))
    return found


# --- length -----------------------------------------------------------------------------------------


def length(root):
    found = []
    for name, text in sources(root):
        limit = 500 if name.startswith("tests/") else 400
        lines = text.count("\n")
        if lines > limit:
            found.append((name, limit + 1, f"{lines} lines, at most {limit}"))
    return found


CHECKS = {"door": door, "layers": layers, "length": length}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=[*CHECKS, "all"])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()
    chosen = CHECKS.values() if arguments.check == "all" else [CHECKS[arguments.check]]
    found = [violation for check in chosen for violation in check(arguments.root)]
    for name, line, message in found:
        print(f"{name}:{line}: {message}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
