"""What the comparisons with PyTorch share: options, and runs of programs whose lines are kept as they come, so that
a comparison that is cut short still prints what it has."""
import json
import os
import pathlib
import signal
import subprocess
import sys

PEERS = pathlib.Path(__file__).resolve().parents[1] / "peers"
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class Runs:
    cut = False  # SIGTERM has come: no other program is started, and tables are printed of what there is
    failed = False  # a case of ours, or a whole program
    program = None  # that runs now


def stop(*_):
    Runs.cut = True
    if Runs.program:
        Runs.program.terminate()


def add_options(parser):
    parser.add_argument("--unroll", type=pathlib.Path, default=pathlib.Path("build/models/unroll"),
                        help="the program; unroll_bench is found beside it")
    parser.add_argument("--python", default=os.environ.get("PYTHON", "python3"), help="an interpreter with PyTorch")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: a GPU if one answers")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--json", type=pathlib.Path, help="file to append every figure to, a line each")
    parser.add_argument("--quick", action="store_true", help="every step of this at small sizes")


def add_kernel_options(parser, min_time):
    add_options(parser)
    parser.add_argument("--min-time", type=float, default=min_time, help="seconds of a case, or a repetition of it")


def add_precision(parser, *more):
    parser.add_argument("--precision", choices=("fp32", *more, "bf16"), help="if not set, bf16 on a GPU, fp32 on a CPU")


def settle(args):
    """Puts a device and a precision where none was named, and says which."""
    signal.signal(signal.SIGTERM, stop)
    if args.device == "auto":
        command = [bench_of(args), "--device", "cuda", "--quick", "--benchmark_filter=^$"]
        found = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        args.device = "cuda" if found else "cpu"
    if getattr(args, "precision", "") is None:
        args.precision = "bf16" if args.device == "cuda" else "fp32"
    print(f"on {args.device}" + (f" in {args.precision}" if hasattr(args, "precision") else ""), file=sys.stderr)


def text_of(folder, kind):
    """The folder's one file *kind*."""
    found = [path for path in sorted(pathlib.Path(folder).iterdir()) if kind in path.name]
    if len(found) != 1:
        sys.exit(f"{folder} has to hold one file *{kind}*; found {len(found)}")
    return found[0]


def log_of(run):
    """The records of a run's log, of which there are none if it ended before its first."""
    path = pathlib.Path(run) / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def bench_of(args):
    return args.unroll.resolve().parents[1] / "bench" / "unroll_bench"


def has_torch(args):
    found = subprocess.run([args.python, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode == 0
    if not found and not Runs.cut:
        say(f"{args.python} has no PyTorch: unroll alone; name an interpreter that has with --python")
    return found


def say(text):
    print(text, file=sys.stderr, flush=True)


def lines_of(command):
    """What a program prints, line by line, to its end or until it or this is told to stop."""
    if Runs.cut:
        return
    command = [str(word) for word in command]
    Runs.program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield from Runs.program.stdout
    code = Runs.program.wait()
    Runs.program = None
    if code:
        Runs.failed = True
        say(f"{command[0]} ended with code {code}")


def keep(args, line):
    if args.json:
        with open(args.json, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def run_bench(args, precision, pattern, *options):
    """The cases of that name that succeeded, and the line on the machine."""
    command = [bench_of(args), f"--benchmark_filter={pattern}", "--benchmark_format=json",
               f"--benchmark_min_time={args.min_time}", "--device", args.device, "--precision", precision,
               "--threads", args.threads, *options] + ["--quick"] * args.quick
    machine, found, text = "", [], None
    for line in lines_of(command):
        if line.startswith('    "machine":'):
            machine = json.loads("{" + line.strip().rstrip(",") + "}")["machine"]
        elif line.startswith("    {"):
            text = "{"
        elif text and line.startswith("    }"):
            case, text = json.loads(text + "}"), None
            if case.get("error_occurred"):
                Runs.failed = True
                say(f"FAILED {case['name']}: {case['error_message']}")
            elif case.get("run_type") == "iteration":
                found.append(case)
                keep(args, case | {"machine": machine})
                say(case["name"] + (f" {case['measured']:.4g}" if "measured" in case
                                    else f" {1e6 * seconds_of(case):.2f} us"))
        elif text:
            text += line
    if not machine and not Runs.cut:
        Runs.failed = True
        say(f"no case ran of {pattern}")
    return found, machine


def seconds_of(entry):
    return entry["real_time"] * SECONDS[entry["time_unit"]]


def run_peer(args, peer, *options):
    """The lines that the peer prints, without those that tell of an error."""
    command = [args.python, PEERS / f"torch_{peer}.py", "--device", args.device, "--threads", args.threads, *options]
    found = []
    for text in lines_of(command):
        try:
            line = json.loads(text)
        except ValueError:  # what a library had to say
            say(text.rstrip())
            continue
        say("PyTorch: " + ", ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}"
                                    for key, value in line.items()))
        if "error" not in line:
            found.append(line)
            keep(args, line)
    return found


def end():
    """Ends the comparison: with 1 where something was cut or failed, without a variant of the peer's."""
    sys.exit(1 if Runs.cut or Runs.failed else 0)
