"""A run interrupted anywhere and resumed ends as one that never was: weights, optimiser, carried state, schedule
and log lines, bit for bit."""

import json
import os
import random
import shutil
import signal
import time
import unittest

from program import TIMEOUT, TINY, ProgramTest, read_safetensors, run, sentences, start

TIMING = ("seconds", "words_per_second")

# Everything on that could be forgotten: dropout, Adam, prefetch, a plateau schedule, early stopping, accumulation.
EVERYTHING = ["--device", "cpu", "--hidden", "24", "--emb", "16", "--layers", "2", "--batch", "4", "--bptt", "5",
              "--dropout", "0.3", "--optimizer", "adam", "--lr", "0.02", "--lr-schedule", "plateau", "--patience", "4",
              "--patience-lr", "1", "--epochs", "5", "--log-every", "3", "--save-every", "0.02s", "--quiet"]


def log_of(run_dir):
    with open(os.path.join(run_dir, "log.jsonl")) as f:
        lines = [json.loads(line) for line in f]
    for line in lines:
        for key in TIMING:
            line.pop(key, None)
    return lines


def everything_of(run_dir):
    """All that has to be equal."""
    model, _ = read_safetensors(os.path.join(run_dir, "model.safetensors"))
    state, values = read_safetensors(os.path.join(run_dir, "state.safetensors"))
    values.pop("value.seconds")
    return {"model": model, "state": state, "values": values, "log": log_of(run_dir)}


class ResumeTest(ProgramTest):
    def check(self, name, flags, kills, seed, after=None):
        """`after`: every kill but the first comes later than that record of the log."""
        whole = self.path(name + "-whole")
        code, _, err = run("train", "--data", self.data, "--out", whole, *EVERYTHING, *flags)
        self.assertEqual(code, 0, err)
        expected = everything_of(whole)
        last = expected["log"][-1]["step"]

        rng = random.Random(seed)
        part = self.path(name + "-part")
        arguments = ["train", "--data", self.data, "--out", part, *EVERYTHING, *flags]
        start_of_rest = next((line["step"] for line in expected["log"] if line["kind"] == after), 1)
        points = [rng.randrange(1, last // 3)] if after else []
        points += sorted(rng.sample(range(start_of_rest, last - 1), len(kills) - len(points)))
        stopped = 0
        for point, kill in zip(points, kills):
            process = start(*arguments)
            self.wait_for_step(process, part, point)
            process.send_signal(kill)
            _, err = process.communicate(timeout=TIMEOUT)
            if process.returncode != 0:  # 0: it was faster than the signal
                stopped += 1
                # Minus the number: so early that the program had not yet begun to take signals.
                self.assertIn(process.returncode, (-kill, 128 + kill) if kill != signal.SIGKILL else (-9,), err)
                if kill != signal.SIGKILL and err:  # no message before training has begun
                    self.assertIn("--resume " + part, err.decode())
            arguments = ["train", "--resume", part, "--quiet"]
        code, out, err = run(*arguments)
        self.assertEqual(code, 0, err)
        self.assertGreater(stopped, 0, "every run ended before its signal")
        found = everything_of(part)
        for key in ("values", "log"):
            self.assertEqual(found[key], expected[key])
        for key in ("model", "state"):
            self.assertEqual(sorted(found[key]), sorted(expected[key]))
            for tensor in expected[key]:
                self.assertTrue(found[key][tensor] == expected[key][tensor], key + " " + tensor)

    def wait_for_step(self, process, run_dir, step):
        """Until the log has come to that step and a state was saved."""
        until = time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < until:
            try:
                lines = log_of(run_dir)
            except (FileNotFoundError, ValueError):
                lines = []
            saved = os.path.exists(os.path.join(run_dir, "state.safetensors"))
            if saved and lines and lines[-1].get("step", 0) >= step:
                return
            time.sleep(0.001)

    def test_stream(self):
        self.check("stream", ["--threads", "1"], [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL], 1)

    def test_sentence(self):
        self.check("sentence", ["--threads", "1", "--batching", "sentence", "--cell", "gru", "--dropout-kind",
                                "locked"], [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], 2)

    def test_accumulation_in_the_middle_of_an_update(self):
        self.check("accum", ["--threads", "1", "--accum", "3", "--log-every", "1"],
                   [signal.SIGINT, signal.SIGKILL, signal.SIGTERM], 3)

    def test_two_threads(self):
        self.check("threads", ["--threads", "2", "--epochs", "2"], [signal.SIGKILL, signal.SIGTERM], 4)

    def test_averaging_fine_tuning_and_random_lengths(self):
        self.check("nt-asgd", ["--threads", "1", "--optimizer", "nt-asgd", "--nonmono", "1", "--lr", "20", "--clip", "0.25",
                               "--lr-schedule", "constant", "--patience", "0", "--bptt-random", "--bptt", "12",
                               "--epochs", "10", "--finetune-epochs", "4", "--finetune-lr", "15", "--weight-decay",
                               "1e-5", "--partial-shuffle", "--embedding-noise", "0.1", "--adversarial", "0.05"],
                   [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM], 5, after="averaging")
        kinds = [line["kind"] for line in log_of(self.path("nt-asgd-whole"))]
        self.assertEqual(kinds.count("averaging"), 1)
        self.assertEqual(kinds.count("finetune"), 1)

    def test_a_run_killed_before_its_first_state_can_be_started_again(self):
        out = self.path("early")
        os.makedirs(out)
        with open(os.path.join(out, "train.unroll-tokens"), "wb") as f:
            f.write(b"torn")
        code, _, err = run("train", "--data", self.data, "--out", out, *EVERYTHING, "--threads", "1", "--epochs", "1")
        self.assertEqual(code, 0, err)

    def test_a_finished_run_goes_on_to_a_new_limit(self):
        whole, part = self.path("more-whole"), self.path("more-part")
        flags = ["--data", self.data, *EVERYTHING, "--threads", "1", "--patience", "0"]
        for out, epochs in ((whole, "4"), (part, "2")):
            code, _, err = run("train", "--out", out, *flags, "--epochs", epochs)
            self.assertEqual(code, 0, err)
        code, _, err = run("train", "--resume", part, "--epochs", "4", "--quiet")
        self.assertEqual(code, 0, err)
        self.assertEqual(everything_of(part)["state"], everything_of(whole)["state"])
        self.assertEqual(log_of(part), log_of(whole))

    def test_layer_normalisation_is_kept_resumed_and_evaluated(self):
        whole, part = self.path("norm-whole"), self.path("norm-part")
        flags = ["--data", self.data, *EVERYTHING, "--threads", "1", "--patience", "0", "--layer-norm"]
        for out, epochs in ((whole, "3"), (part, "1")):
            code, _, err = run("train", "--out", out, *flags, "--epochs", epochs)
            self.assertEqual(code, 0, err)
        code, _, err = run("train", "--resume", part, "--epochs", "3", "--quiet")
        self.assertEqual(code, 0, err)
        self.assertEqual(everything_of(part)["state"], everything_of(whole)["state"])
        self.assertEqual(log_of(part), log_of(whole))
        model, _ = read_safetensors(os.path.join(whole, "model.safetensors"))
        for layer in ("l0", "l1"):
            for name in ("gain_ih", "gain_hh", "gain_c", "bias_c"):
                self.assertIn(f"rnn.{name}_{layer}", model)
        code, out, err = run("eval", part, os.path.join(self.data, "valid.txt"), "--json", "--threads", "1")
        self.assertEqual(code, 0, err)
        ppl = json.loads(out)["ppl"]
        self.assertLess(abs(ppl / log_of(whole)[-1]["valid_ppl"] - 1), 1e-6)
        self.assertLess(ppl, 20, "nothing was learned: as many words are equally likely")

    def test_other_threads_are_warned_about(self):
        run_dir, _, _ = self.train("warn")
        _, _, err = run("train", "--resume", run_dir, "--threads", "2", "--epochs", "2")
        self.assertIn("not bit for bit", err)

    def test_texts_that_have_changed_are_noticed(self):
        folder = self.path("changed")
        shutil.copytree(self.data, folder)
        run_dir = self.path("changed-run")
        code, _, err = run("train", "--data", folder, "--out", run_dir, *TINY)
        self.assertEqual(code, 0, err)
        with open(os.path.join(run_dir, "config.toml")) as f:
            config = f.read()
        resume = ("train", "--resume", run_dir, "--epochs", "2")
        for name, what in (("train", "training"), ("valid", "validation"), ("test", "test")):
            path = os.path.join(folder, name + ".txt")
            with open(path) as f:
                lines = f.read().splitlines()
            # The vocabulary stays the same.
            self.write(path, "\n".join(lines[:-2] + lines[:-3:-1]) + "\n")
            message = "the %s text (%s)" % (what, path)
            if name == "test":
                code, _, err = run(*resume)
                self.assertEqual(code, 0, err)
                self.assertIn(message, err)
                continue
            self.assert_fails(4, [message, "--init-from"], *resume)
            with open(os.path.join(run_dir, "config.toml")) as f:
                self.assertEqual(f.read(), config, "a run that was refused is left as it was")
            self.write(path, "\n".join(lines) + "\n")
        self.write(os.path.join(folder, "train.txt"), sentences(120, 1, words=29))
        self.assert_fails(4, ["the vocabulary (%s" % folder, "--init-from"], *resume)

    def test_a_text_that_is_gone_is_named_with_the_place_to_change(self):
        folder, moved = self.path("here"), self.path("there")
        shutil.copytree(self.data, folder)
        run_dir = self.path("moved-run")
        code, _, err = run("train", "--data", folder, "--out", run_dir, *TINY)
        self.assertEqual(code, 0, err)
        os.rename(folder, moved)
        config = os.path.join(run_dir, "config.toml")
        resume = ("train", "--resume", run_dir, "--epochs", "2")
        self.assert_fails(2, [os.path.join(folder, "train.txt"), config], *resume)
        with open(config) as f:
            text = f.read()
        self.write(config, text.replace(folder, moved))
        code, _, err = run(*resume)
        self.assertEqual(code, 0, err)

    def test_the_state_alone_is_enough(self):
        run_dir, _, _ = self.train("alone", "--max-steps", "3")
        os.remove(os.path.join(run_dir, "model.safetensors"))
        shutil.rmtree(os.path.join(run_dir, "tb"))
        os.remove(os.path.join(run_dir, "log.jsonl"))
        code, _, err = run("train", "--resume", run_dir, "--max-steps", "0")
        self.assertEqual(code, 0, err)


if __name__ == "__main__":
    unittest.main()
