#!/usr/bin/env python3
"""Recurrent layers beside PyTorch's, forward and backward with all gradients.

  ./dev bench recurrent [--cells lstm gru tanh] [--precisions bf16 tf32 fp32] [--python PYTHON] [--shapes B,T,H ..]
                        [--parts layers stacks constants] [--device cpu] [--json FILE] [--quick]

layers: one layer, input as wide as the layer, in every schedule that can run. stacks: three layers
1150-1150-1150-400, one layer with dropped recurrent weights, both directions of a layer with lengths from 5 to 60.
constants: what the planner takes for given, measured, beside what it takes; a GPU only.

Ours are the cases recurrent_* of unroll_bench; the peer is bench/peers/torch_recurrent.py, with the interpreter
--python, else $PYTHON, else python3 of the PATH: the fastest of its variants, eager and graph, at this size or a padded
one, in fp16 and bf16 where all of ours is in bf16, and in fp16, bf16, TF32 and fp32 elsewhere. Times are medians in
microseconds, between device events on a GPU. GEMMs are the products around the loop, timed alone. The floor is the
operations and bytes at the rates of a large product and a copy, and on a GPU T exchanges between multiprocessors in
each pass, all measured in the same run. The ratio is the peer's forward and backward over ours. On a GPU the last
table compares the planner's predictions with the times. Without PyTorch, only ours are printed. Every figure goes to
standard error, and to --json, as it comes; a run that is ended early prints the tables of what it has. --quick: every
step of this at small sizes.
"""
import argparse
import collections
import re
import statistics

import beside

SHAPES = ["20,70,1150", "20,35,650", "20,35,1500", "64,128,1024", "128,256,2048", "32,512,512", "16,1024,768"]
CPU_SHAPES = ["20,20,200", "20,35,650", "20,35,1500"]
QUICK_SHAPES = ["3,5,33", "8,4,64"]
SCHEDULES = ("persistent", "step", "alternating", "loop")
CASE = re.compile(r"recurrent_(layer_|products_|stack_)?(forward|backward)/"
                  r"(?:((?:layers|dropped|bidirectional)(?:_in_order)?)/)?(\w+?)/"
                  r"(?:(persistent|step|alternating)/)?T(\d+)/B(\d+)/H(\d+)/")


def us_of(entry):
    return 1e6 * beside.seconds_of(entry)


def run_bench(args, precision, pattern, repetitions):
    return beside.run_bench(args, precision, pattern, f"--benchmark_repetitions={repetitions}")


def ours(args, cell, precision):
    """{(part, shape, schedule or kind): {way: figures}} of medians, and the line on the machine."""
    # A filter by shape, since memory is filled before a case is timed.
    shapes = "|".join("T{1}/B{0}/H{2}".format(*shape.split(",")) for shape in args.shapes)
    wanted = [f"recurrent_(layer_|products_)?(forward|backward)/{cell}/.*({shapes})/"] * ("layers" in args.parts)
    wanted += [f"recurrent_stack_.*/{cell}/"] * ("stacks" in args.parts)
    entries, machine = run_bench(args, precision, "^(" + "|".join(wanted) + ")", args.repeats)
    runs = collections.defaultdict(list)
    for entry in entries:
        runs[entry["name"]].append(entry)
    found = collections.defaultdict(dict)
    for name, same in runs.items():
        part, way, kind, _, schedule, T, B, H = CASE.match(name).groups()
        us = statistics.median(us_of(entry) for entry in same)
        floor = statistics.median(us_of(entry) * entry["peak"] for entry in same)
        found[(part or "loop_").rstrip("_"), f"{B},{T},{H}", kind or schedule or "loop"][way] = {
            "us": us, "floor": floor, "predicted": same[0].get("predicted_us"), "auto": same[0].get("label") == "auto"}
    return found, machine


def peer_precisions(args):
    if args.device == "cpu":
        return ["fp32"]
    return ["fp16", "bf16"] if args.precisions == ["bf16"] else ["fp16", "bf16", "tf32", "fp32"]


def peers(args, cell):
    """(shape or kind) -> the figures of all variants."""
    options = ["--cell", cell, "--pad", "--precisions", *peer_precisions(args)]
    options += ["--shapes", *args.shapes] * ("layers" in args.parts)
    options += ["--stacks"] * ("stacks" in args.parts) + ["--quick"] * args.quick
    lines = beside.run_peer(args, "recurrent", *options)
    if lines:
        print("peer      PyTorch {torch}, cuDNN {cudnn}, {device}: the fastest of ".format(**lines[0])
              + ", ".join(peer_precisions(args)))
    found = collections.defaultdict(list)
    for line in lines[1:]:
        shape = line.get("padded_from", f"{line['B']},{line['T']},{line['H']}")
        found[shape if line["kind"] == "layer" else line["kind"]].append(line)
    return found


def total(figures):
    return figures["forward_us"] + figures["backward_us"]


def peer_text(best, us):
    if not best:
        return "      -"
    padded = f" at {best['B']},{best['T']},{best['H']}" if "padded_from" in best else ""
    return (f" {total(best) / us:6.2f}  {best['forward_us']:.0f} + {best['backward_us']:.0f}, "
            f"{best['variant']} {best['precision']}{padded}")


def print_layers(args, cell, precision, mine, theirs, exchange_us):
    print(f"\n{args.device}: {cell}, {precision}, microseconds")
    print(f"{'B,T,H':14} {'schedule':12} {'forward':>10} {'backward':>10} {'loop/step':>17} {'GEMMs':>9} {'floor':>9} "
          f"{'ratio':>6}  peer")
    for shape in args.shapes:
        T = int(shape.split(",")[1])
        best = min(theirs.get(shape, []), key=total, default=None)
        products = mine.get(("products", shape, "loop"), {})
        for schedule in SCHEDULES:
            layer, loop = (mine.get((part, shape, schedule), {}) for part in ("layer", "loop"))
            if len(layer) < 2 or len(loop) < 2:
                continue
            us = sum(pass_["us"] for pass_ in layer.values())
            floor = sum(pass_["floor"] for pass_ in layer.values()) + 2 * T * exchange_us
            gemms = f"{sum(pass_['us'] for pass_ in products.values()):9.1f}" if len(products) == 2 else f"{'-':>9}"
            print(f"{shape:14} {schedule + '*' * loop['forward']['auto']:12} {layer['forward']['us']:10.1f} "
                  f"{layer['backward']['us']:10.1f} {loop['forward']['us'] / T:8.2f} {loop['backward']['us'] / T:8.2f} "
                  f"{gemms} {floor:9.1f}{peer_text(best, us)}", flush=True)


def print_stacks(args, cell, precision, mine, theirs, exchange_us):
    for kind in ("layers", "dropped", "bidirectional"):
        for (part, shape, of), passes in mine.items():
            if part != "stack" or of != kind or len(passes) < 2:
                continue
            us = sum(pass_["us"] for pass_ in passes.values())
            best = min(theirs.get(kind, []), key=total, default=None)
            # Layers and directions may run side by side: T exchanges, however many there are.
            floor = sum(pass_["floor"] for pass_ in passes.values()) + 2 * int(shape.split(",")[1]) * exchange_us
            in_order = mine.get(("stack", shape, kind + "_in_order"), {}).get("backward")
            print(f"{args.device}: {cell}, {precision}, {kind:14} {shape:12} forward {passes['forward']['us']:10.1f} "
                  f"backward {passes['backward']['us']:10.1f}"
                  + (f" (in order {in_order['us']:10.1f})" if in_order else "")
                  + f" floor {floor:9.1f} ratio{peer_text(best, us)}", flush=True)


def exchange_of(args):
    """The shortest exchange among the most blocks, in microseconds. Prints all that the planner takes for given, if
    that is asked for."""
    all_of_them = "constants" in args.parts
    entries, machine = run_bench(
        args, "bf16", "^recurrent_constants/" + "exchange_watch_one/1x" * (not all_of_them), 1)
    if all_of_them:
        print(f"\n{machine}\nwhat the planner takes for given: measured, assumed, ratio")
    exchange = {}
    for entry in entries:
        name = entry["name"].removeprefix("recurrent_constants/").split("/iterations")[0]
        row = f"{name:72} {entry['measured']:12.4g}"
        if "assumed" in entry:
            row += f" {entry['assumed']:12.4g} {entry['ratio']:7.2f}"
        if all_of_them:
            print(row, flush=True)
        match = re.match(r"exchange_watch_one/1x(\d+)_blocks/(\d+)_bytes", name)
        if match:
            exchange[-int(match[1]), int(match[2])] = entry["measured"] * 1e-3
    if not exchange:
        print("no exchange was measured: floors are without exchanges")
        return 0.0
    print(f"an exchange among {-min(exchange)[0]} blocks, in floors T times a pass: {exchange[min(exchange)]:.3f} us")
    return exchange[min(exchange)]


def print_planner(checks):
    """One line per layer: the schedules' times, what auto takes, and whether that was right."""
    print("\nthe planner: loop forward + backward, measured (predicted over measured); * is what auto takes")
    right, close, all_predictions = 0, 0, 0
    for name, schedules in checks.items():
        fastest = min(us for us, _, _ in schedules.values())
        chosen = next((us for us, _, auto in schedules.values() if auto), None)
        good = chosen is not None and chosen <= 1.1 * fastest
        right += good
        close += sum(1 / 1.5 <= predicted / us <= 1.5 for us, predicted, _ in schedules.values())
        all_predictions += len(schedules)
        cells = (f"{schedule}{'*' if auto else ''} {us:.0f} ({predicted / us:.2f})"
                 for schedule, (us, predicted, auto) in schedules.items())
        print(f"{name:30} {'ok   ' if good else 'WRONG'} {', '.join(cells)}")
    print(f"auto within 10% of the fastest: {right} of {len(checks)} layers ({100 * right / len(checks):.0f}%, target "
          f"90%); predictions within 1.5x: {close} of {all_predictions} ({100 * close / all_predictions:.0f}%)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside.add_kernel_options(parser, min_time=0.02)
    parser.add_argument("--cells", nargs="+", choices=["lstm", "gru", "tanh"], default=["lstm", "gru", "tanh"])
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "tf32", "fp32"], default=["bf16", "tf32", "fp32"])
    parser.add_argument("--shapes", nargs="+", metavar="B,T,H", help="of those that are built in")
    parser.add_argument("--parts", nargs="+", choices=["layers", "stacks", "constants"],
                        default=["layers", "stacks", "constants"])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    beside.settle(args)
    args.shapes = args.shapes or (QUICK_SHAPES if args.quick else SHAPES if args.device == "cuda" else CPU_SHAPES)
    if args.quick:
        args.repeats, args.min_time = 2, 0.001
    if args.device == "cpu":
        args.precisions = ["fp32"]
    cells = args.cells if args.parts != ["constants"] else []
    with_peer = bool(cells) and beside.has_torch(args)
    measured = {cell: ({precision: ours(args, cell, precision) for precision in args.precisions},
                       peers(args, cell) if with_peer else {}) for cell in cells}
    # After the layers, which are wanted most: one of these figures may be the first that does not come to an end.
    exchange_us = exchange_of(args) if args.device == "cuda" else 0.0
    checks = {}
    for cell, (all_mine, theirs) in measured.items():
        for precision, (mine, machine) in all_mine.items():
            print(f"\n{machine}")
            if "layers" in args.parts:
                print_layers(args, cell, precision, mine, theirs, exchange_us)
            print_stacks(args, cell, precision, mine, theirs, exchange_us)
            for (part, shape, schedule), passes in mine.items():
                if part == "loop" and len(passes) == 2 and passes["forward"]["predicted"]:
                    checks.setdefault(f"{cell} {precision} {shape}", {})[schedule] = (
                        sum(pass_["us"] for pass_ in passes.values()),
                        sum(pass_["predicted"] for pass_ in passes.values()), passes["forward"]["auto"])
    if checks:
        print_planner(checks)
    beside.end()


if __name__ == "__main__":
    main()
