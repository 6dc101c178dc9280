"""What the comparisons with PyTorch of kernels share: options, and runs of unroll_bench and of a peer."""
import json
import os
import pathlib
import subprocess
import sys

PEERS = pathlib.Path(__file__).resolve().parents[1] / "peers"
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def add_options(parser, device="cpu", min_time=0.2):
    parser.add_argument("--unroll", type=pathlib.Path, default=pathlib.Path("build/models/unroll"),
                        help="the program; unroll_bench is found beside it")
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="an interpreter with PyTorch")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--min-time", type=float, default=min_time, help="seconds of a case, or a repetition of it")
    parser.add_argument("--quick", action="store_true", help="every step of this at small sizes")


def has_torch(args):
    found = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    if not found:
        print(f"{args.python} has no PyTorch: unroll alone; name an interpreter that has with --python",
              file=sys.stderr)
    return found


def run_bench(args, precision, pattern, *options):
    """The cases of that name, and the lines on the machine."""
    command = [args.unroll.resolve().parents[1] / "bench" / "unroll_bench", f"--benchmark_filter={pattern}",
               "--benchmark_format=json", f"--benchmark_min_time={args.min_time}", "--device", args.device,
               "--precision", precision, "--threads", args.threads, *options] + ["--quick"] * args.quick
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{command[0]} ended with code {done.returncode}")
    text = done.stdout.strip()
    return json.loads(text)["benchmarks"] if text else [], done.stderr.strip()


def seconds_of(entry):
    return entry["real_time"] * SECONDS[entry["time_unit"]]


def run_peer(args, peer, *options):
    """The lines that the peer prints, without those that tell of an error."""
    command = [args.python, PEERS / f"torch_{peer}.py", "--device", args.device, "--threads", args.threads, *options]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{peer}: the peer did not run to its end", file=sys.stderr)
    lines = []
    for line in map(json.loads, done.stdout.splitlines()):
        if "error" in line:
            print("PyTorch: " + ", ".join(f"{key} {value}" for key, value in line.items()), file=sys.stderr)
        else:
            lines.append(line)
    return lines
