#!/usr/bin/env python3
"""Plants each violation that lint.py and spills.py look for, and a clean twin beside it."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "gpu_on_cpu"))
import lint  # noqa: E402
import mutate  # noqa: E402
import spills  # noqa: E402


class Tree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def lines(self, check):
        return [(name, line) for name, line, _ in check(self.root)]


class Door(Tree):
    KERNEL = "kernels/elementwise/add_cuda.cu"

    def test_each_word(self):
        for code in ("add_kernel<<<1, 32>>>(y);", "__shared__ float tmp[32];", 'asm("trap;");',
                     "asm volatile(\"bar.sync 0;\");", "__syncthreads();", "__syncwarp();",
                     "v = __shfl_xor_sync(m, v, 1);", "m = __activemask();", "__threadfence();",
                     "atomicAdd(p, 1);", "__global__ void k();", "__constant__ int c;",
                     "volatile int* flag;", "#include <cub/cub.cuh>", "#include <cooperative_groups.h>",
                     "#  include <cooperative_groups/reduce.h>", "#if __CUDA_ARCH__ >= 900",
                     "__cluster_barrier_arrive();", "cudaStreamSynchronize(s);", "cudaMalloc(&p, 4);"):
            with self.subTest(code):
                self.write(self.KERNEL, f"// A kernel.\nint a;\n{code}\n")
                self.assertEqual(set(self.lines(lint.door)), {(self.KERNEL, 3)})
                # The bodies of the door may use all of them.
                (self.root / self.KERNEL).unlink()
                self.write("kernels/base/gpu_nvcc.h", code)
                self.assertEqual(self.lines(lint.door), [])

    def test_clean(self):
        self.write(self.KERNEL, """// Not __shared__ but GPU_SHARED; no <<< >>>, /* nor asm */ anywhere.
/* __syncthreads()
   <<< */
const char* text = "asm <<<";
GPU_KERNEL void k(float* y) { GPU_SHARED(tmp, float[32]); gpu::sync_threads(); y[0] = tmp[0] << 3; }
""")
        self.assertEqual(self.lines(lint.door), [])

    def test_cub_has_one_place(self):
        code = "#include <cub/device/device_radix_sort.cuh>\n"
        self.write("kernels/base/device_algorithms_cuda.cu", code)
        self.assertEqual(self.lines(lint.door), [])
        self.write("kernels/base/device_algorithms.h", code)
        self.assertEqual(self.lines(lint.door), [("kernels/base/device_algorithms.h", 1)])


class Layers(Tree):
    def test_each_arrow(self):
        targets = ("kernels/base/view.h", "kernels/base/reduce.cuh", "kernels/heads/softmax.h",
                   "kernels/update/sgd.h", "host/device/stream.h", "host/tape/tape.h", "host/ops/linear.h",
                   "host/data/vocab.h", "host/train/model.h", "host/train/trainer.h", "models/rnn_lm.h",
                   "tests/gpu_on_cpu/engine.h")
        for target in targets:
            self.write(target, "")
        cuda = "<cuda_runtime.h>"
        allowed = {
            "kernels/heads/other.h": {"kernels/base/view.h", "kernels/heads/softmax.h"},
            "kernels/gemm/gemm_cpu.cc": {t for t in targets
                                         if t.startswith("kernels") and t.endswith(".h")},
            "kernels/gemm/gemm_cuda.cu": {t for t in targets if t.startswith("kernels")} | {cuda},
            "kernels/base/gpu.h": {"kernels/base/view.h", "tests/gpu_on_cpu/engine.h"},
            "host/device/device.h": {"kernels/base/view.h", "host/device/stream.h"},
            "host/memory/buffer.cc": {"kernels/base/view.h", "host/device/stream.h", cuda},
            "host/ops/linear.cc": {"kernels/base/view.h", "kernels/heads/softmax.h", "kernels/update/sgd.h",
                                   "host/device/stream.h", "host/tape/tape.h", "host/ops/linear.h"},
            "host/io/log.cc": {"kernels/base/view.h", "kernels/update/sgd.h"} |
                              {t for t in targets if t.startswith("host")},
            "models/other_lm.h": {"host/tape/tape.h", "host/ops/linear.h", "host/train/model.h",
                                  "models/rnn_lm.h"},
            "models/cli/train.cc": {"host/device/stream.h", "host/data/vocab.h", "host/train/model.h",
                                    "host/train/trainer.h", "models/rnn_lm.h"},
            "tests/kernels/x_test.cc": set(targets) | {cuda},
        }
        for name, expected in allowed.items():
            for target in targets + (cuda,):
                with self.subTest(f"{name} -> {target}"):
                    quoted = target if target.startswith("<") else f'"{target}"'
                    self.write(name, f"// A comment.\n#include {quoted}\n")
                    found = lint.layers(self.root)
                    if target in expected:
                        self.assertEqual(found, [])
                    else:
                        self.assertEqual([v[:2] for v in found], [(name, 2)])
                        self.assertIn(target, found[0][2])
            (self.root / name).unlink()

    def test_not_from_the_root(self):
        self.write("host/io/log.h", "")
        self.write("host/io/log.cc", '#include "log.h"\n')
        self.assertEqual(self.lines(lint.layers), [("host/io/log.cc", 1)])


class Length(Tree):
    def test_limits(self):
        self.write("kernels/a.h", "\n" * 400)
        self.write("tests/a_test.cc", "\n" * 500)
        self.assertEqual(self.lines(lint.length), [])
        self.write("kernels/a.h", "\n" * 401)
        self.write("tests/a_test.cc", "\n" * 501)
        self.assertEqual(self.lines(lint.length), [("kernels/a.h", 401), ("tests/a_test.cc", 501)])


class Mutations(Tree):
    def test_names_of_sites(self):
        self.write("kernels/x/x_cuda.cu", """// gpu::sync_threads() in a comment
template <int N>
GPU_KERNEL_BOUNDS(N * (2 + 1), 1)
void first_kernel(float* y) {
  gpu::sync_threads();
  if (y) gpu::cp_async_wait<0>();
  gpu::sync_threads();
}
GPU_DEVICE float helper(float v) {
  return v + gpu::shfl(1, v, 1);
}
GPU_KERNEL void second_kernel() { gpu::fence(); gpu::sync_threads(); }
""")
        file = "kernels/x/x_cuda.cu"
        self.assertEqual(mutate.sites(self.root), {
            (file, "first_kernel", "sync_threads", 1): 5, (file, "first_kernel", "cp_async_wait", 1): 6,
            (file, "first_kernel", "sync_threads", 2): 7, (file, "second_kernel", "fence", 1): 12,
            (file, "second_kernel", "sync_threads", 1): 12})

    def test_table_must_cover_the_code(self):
        a, b = ("f", "k", "fence", 1), ("f", "k", "fence", 2)
        killed = ("killed", "Test.Name")
        self.assertEqual(mutate.complaints({a: killed}, {a: 3}), [])
        for table, code, part in (({}, {a: 3}, "f:3: fence 1 in k is not in"),
                                  ({a: ("survived", "")}, {a: 3}, "f:3: fence 1 in k can go"),
                                  ({a: ("unreached", "")}, {a: 3}, "reached by no test"),
                                  ({a: killed, b: killed}, {a: 3}, "not in the code any more")):
            found = mutate.complaints(table, code)
            self.assertEqual(len(found), 1)
            self.assertIn(part, found[0])


class Report(Tree):
    def test_prints_file_and_line_and_fails(self):
        self.write("kernels/x/x_cuda.cu", "\n__syncthreads();\n")
        run = subprocess.run([sys.executable, HERE / "lint.py", "all", "--root", self.root],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertTrue(run.stdout.startswith("kernels/x/x_cuda.cu:2: __syncthreads"), run.stdout)
        self.write("kernels/x/x_cuda.cu", "gpu::sync_threads();\n")
        run = subprocess.run([sys.executable, HERE / "lint.py", "all", "--root", self.root])
        self.assertEqual(run.returncode, 0)


class Spills(unittest.TestCase):
    LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5cleanPf' for 'sm_90a'
ptxas info    : Function properties for _Z5cleanPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers
ptxas info    : Compiling entry function '_Z4fullPf' for 'sm_90a'
ptxas info    : Function properties for _Z4fullPf
    40 bytes stack frame, 40 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 40 bytes cumulative stack size
"""

    def test_spill_is_found(self):
        self.assertEqual(spills.spilling(self.LOG), {("sm_90", "_Z4fullPf"): "40 bytes stored, 36 loaded"})
        self.assertEqual(len(spills.violations(self.LOG, [])), 1)
        self.assertIn("_Z4fullPf", spills.violations(self.LOG, [])[0])

    def test_listed_spill_passes_on_its_device(self):
        self.assertEqual(spills.violations(self.LOG, [("sm_90", "_Z4full*")]), [])
        self.assertEqual(len(spills.violations(self.LOG, [("sm_80", "_Z4full*")])), 1)

    def test_every_line_of_the_list_names_a_device(self):
        for line in spills.allowed_patterns():
            self.assertRegex(" ".join(line), r"^sm_\d+ \S+$")

    def test_compiler_launcher_fails_and_keeps_quiet(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            log.write_text(self.LOG + "x.cu(3): warning: unused variable\n")
            command = [sys.executable, HERE / "spills.py", "--launch", "sh", "-c", f"cat {log} >&2"]
            run = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(run.returncode, 1)
            self.assertIn("_Z4fullPf", run.stderr)
            self.assertIn("unused variable", run.stderr)
            self.assertNotIn("Used 24 registers", run.stderr)
            log.write_text("")
            self.assertEqual(subprocess.run(command).returncode, 0)
            command[-1] = "exit 3"
            self.assertEqual(subprocess.run(command).returncode, 3)


if __name__ == "__main__":
    unittest.main()
