"""The phases of a training: skipped updates, NT-ASGD and its trigger, fine-tuning, chunks of random length."""

import json
import math
import os
import struct
import unittest

from program import TINY, ProgramTest, read_safetensors, run, sentences, write_safetensors

NONMONO = 2
# A rate at which validation goes up and down.
NT_ASGD = ["--optimizer", "nt-asgd", "--nonmono", NONMONO, "--lr", "20", "--clip", "0.25", "--weight-decay", "1.2e-6",
           "--epochs", "14"]


def log_of(run_dir):
    with open(os.path.join(run_dir, "log.jsonl")) as f:
        return [json.loads(line) for line in f]


def steps_of(log, kind):
    return [line["step"] for line in log if line["kind"] == kind]


def trigger(losses):
    """The first validation, from 0, that is worse than the best of all before it but the last NONMONO; or None."""
    for t, loss in enumerate(losses):
        if t > NONMONO and loss > min(losses[:t - NONMONO]):
            return t
    return None


class PhasesTest(ProgramTest):
    def test_averaging_begins_at_the_trigger(self):
        run_dir, _, _ = self.train("nt-asgd", *NT_ASGD)
        log = log_of(run_dir)
        valid = [line for line in log if line["kind"] == "valid"]
        at = trigger([line["loss"] for line in valid])
        self.assertIsNotNone(at, "the setting has to trigger")
        self.assertEqual(steps_of(log, "averaging"), [valid[at]["step"]])
        state, values = read_safetensors(os.path.join(run_dir, "state.safetensors"))
        self.assertNotEqual(state["asgd.mean"], state["weights"])
        self.assertEqual(values["value.averaging"], "1")
        # The mean of the weights beats every single one.
        self.assertGreater(valid[-1]["step"], valid[at]["step"])
        self.assertLess(min(line["loss"] for line in valid[at + 1:]), min(line["loss"] for line in valid[:at + 1]))
        self.assertEqual(values["value.best_step"], str(min(valid, key=lambda line: line["loss"])["step"]))

    def test_averaging_begins_at_the_epoch_that_is_given(self):
        run_dir, _, err = self.train("average-epoch", *NT_ASGD, "--average-epoch", "3", "--epochs", "5")
        log = log_of(run_dir)
        self.assertEqual(steps_of(log, "averaging"), [steps_of(log, "valid")[2]])
        self.assertIn("epoch 3: from here on the mean", err)
        later, _, _ = self.train("average-later", *NT_ASGD, "--average-epoch", "9", "--epochs", "5")
        self.assertEqual(steps_of(log_of(later), "averaging"), [])
        code, _, err = run("train", "--resume", run_dir, "--epochs", "6", "--threads", "1")
        self.assertEqual(code, 0, err)
        self.assertEqual(len(steps_of(log_of(run_dir), "averaging")), 1)
        # A run that stops within that epoch has not come to its end.
        end = steps_of(log, "valid")[2]
        short, _, _ = self.train("average-short", *NT_ASGD, "--average-epoch", "3", "--epochs", "5",
                                 "--max-steps", str(end - 1))
        self.assertEqual(steps_of(log_of(short), "averaging"), [])
        code, _, err = run("train", "--resume", short, "--max-steps", "0", "--threads", "1")
        self.assertEqual(code, 0, err)
        self.assertEqual(steps_of(log_of(short), "averaging"), [end])

    def test_before_the_trigger_it_is_sgd(self):
        flags = ["--lr", "1", "--epochs", "3", "--weight-decay", "1e-3"]
        sgd, _, _ = self.train("sgd", "--optimizer", "sgd", *flags)
        nt, _, _ = self.train("nt", "--optimizer", "nt-asgd", *flags)
        self.assertEqual([line["loss"] for line in log_of(sgd) if line["kind"] == "valid"],
                         [line["loss"] for line in log_of(nt) if line["kind"] == "valid"])

    def test_fine_tuning_starts_from_the_best_model_and_ends_at_its_own_trigger(self):
        run_dir, _, _ = self.train("finetune", *NT_ASGD, "--finetune-epochs", "40")
        log = log_of(run_dir)
        start = steps_of(log, "finetune")
        self.assertEqual(len(start), 1)
        main = [line for line in log if line["kind"] == "valid" and line["step"] <= start[0]]
        tune = [line for line in log if line["kind"] == "valid" and line["step"] > start[0]]
        self.assertEqual(len(main), 14)
        at = trigger([line["loss"] for line in tune])
        self.assertEqual(len(tune), 40 if at is None else at + 1)
        # Its first mean is near the best model's.
        self.assertLess(tune[0]["loss"], 1.1 * min(line["loss"] for line in main))
        # With as few epochs as asked for, and the run goes on with a new limit.
        few, _, _ = self.train("few", *NT_ASGD, "--finetune-epochs", "2")
        self.assertEqual(sum(line["kind"] == "valid" for line in log_of(few)), 16)
        code, _, err = run("train", "--resume", few, "--finetune-epochs", "40", "--quiet")
        self.assertEqual(code, 0, err)
        self.assertEqual([line["loss"] for line in log_of(few) if line["kind"] == "valid"],
                         [line["loss"] for line in main + tune])

    def test_fine_tuning_of_a_run_that_had_ended(self):
        whole, _, _ = self.train("tune-whole", *NT_ASGD, "--finetune-epochs", "3")
        later, _, _ = self.train("tune-later", *NT_ASGD)
        code, _, err = run("train", "--resume", later, "--finetune-epochs", "3", "--quiet")
        self.assertEqual(code, 0, err)
        ours, theirs = (read_safetensors(os.path.join(d, "state.safetensors"))[0] for d in (whole, later))
        self.assertTrue(ours == theirs)

    def test_fine_tuning_at_a_rate_of_its_own(self):
        run_dir, _, _ = self.train("own-rate", "--optimizer", "asgd", "--lr", "2", "--clip", "0.25", "--epochs", "2",
                                   "--finetune-epochs", "1", "--finetune-lr", "3", "--log-every", "1")
        log = log_of(run_dir)
        start = steps_of(log, "finetune")[0]
        rates = [{line["lr"] for line in log if line["kind"] == "train" and (line["step"] > start) == second}
                 for second in (False, True)]
        self.assertEqual(rates, [{2}, {3}])

    def test_settings_that_do_not_fit_are_refused(self):
        for flags, words in [(["--finetune-epochs", "2", "--optimizer", "adam"], ["finetune_epochs", "nt-asgd"]),
                             (["--bptt-random", "--accum", "2"], ["bptt_random", "accum"]),
                             (["--bptt-random", "--batching", "sentence"], ["bptt_random", "stream"]),
                             (["--partial-shuffle", "--batching", "sentence"], ["partial_shuffle", "stream"]),
                             (["--adversarial", "0.1", "--softmax", "sampled"], ["adversarial", "full"]),
                             (["--finetune-lr", "5"], ["finetune_lr", "finetune_epochs"]),
                             (["--finetune-adversarial", "0.1"], ["finetune_adversarial", "finetune_epochs"]),
                             (["--clip-groups", "nothing.*"], ["clip_groups", "nothing.*", "encoder.weight"]),
                             (["--clip-groups", "rnn.*=x"], ["clip_groups", "rnn.*=x"])]:
            with self.subTest(flags):
                self.assert_fails(2, words, "train", "--data", self.data, "--out", self.path("refused"), *TINY, *flags)

    def test_chunks_of_random_length(self):
        self.train("random", "--bptt-random", "--bptt", "12", "--optimizer", "sgd", "--lr", "1")
        fixed, _, _ = self.train("fixed", "--bptt", "12", "--optimizer", "sgd", "--lr", "1")
        counts = [steps_of(log_of(d), "valid")[0] for d in (self.path("random"), fixed)]
        self.assertNotEqual(*counts)

    def test_every_optimiser_learns(self):
        start = math.log(25)
        # The mean of all iterates from the first on learns slowly.
        for name, rate, share in [("sgd", 10, 0.85), ("momentum", 2, 0.85), ("asgd", 20, 0.97), ("adagrad", 0.1, 0.85),
                                  ("rmsprop", 0.01, 0.85), ("adam", 0.02, 0.85), ("adamw", 0.02, 0.85)]:
            with self.subTest(name):
                run_dir, _, _ = self.train("rule-" + name, "--optimizer", name, "--epochs", "4", "--lr", rate,
                                           "--weight-decay", "1e-5", "--clip-groups", "rnn.*,encoder.weight=0.5")
                self.assertLess(log_of(run_dir)[-2]["loss"], share * start)


class SkipTest(ProgramTest):
    def poisoned(self, name, data, *words):
        """A model whose vectors of these words are too large for their sums."""
        run_dir = self.path(name)
        code, _, err = run("train", "--data", data, "--out", run_dir, *TINY, "--max-steps", "1", "--cell", "relu")
        self.assertEqual(code, 0, err)
        path = os.path.join(run_dir, "model.safetensors")
        tensors, metadata = read_safetensors(path)
        dtype, (rows, columns), data = tensors["encoder.weight"]
        vocab = [line.split()[0] for line in metadata["vocab"].splitlines()[1:]]
        data = bytearray(data)
        for word in words:
            at = vocab.index(word) * columns * 4
            data[at:at + columns * 4] = struct.pack("<%df" % columns, *([3e38] * columns))
        tensors["encoder.weight"] = (dtype, [rows, columns], bytes(data))
        write_safetensors(path, tensors, metadata)
        return path

    def test_a_gradient_that_is_not_finite_skips_its_update_alone(self):
        data = os.path.dirname(self.write("skip/train.txt", "rare\n" + sentences(60, 4)))
        self.write("skip/valid.txt", sentences(10, 5))
        path = self.poisoned("skip-model", data, "rare")
        out = self.path("skip")
        code, _, err = run("train", "--data", data, "--out", out, *TINY, "--batching", "sentence", "--epochs", "2",
                           "--log-every", "1", "--cell", "relu", "--optimizer", "sgd", "--init-from", path)
        self.assertEqual(code, 0, err)
        log = [line for line in log_of(out) if line["kind"] in ("train", "skipped")]
        skipped = [line["skipped"] for line in log]
        self.assertEqual(skipped[-1], 2)  # once an epoch
        self.assertEqual(sorted(set(skipped)), [0, 1, 2][3 - len(set(skipped)):])
        self.assertEqual(sum(line["kind"] == "skipped" for line in log), 2)
        self.assertIn("1 updates were skipped", err)
        self.assertEqual(steps_of(log_of(out), "rollback"), [])

    def test_ten_in_a_row_roll_back_and_the_third_time_ends_the_run(self):
        path = self.poisoned("poison-model", self.data, *("w%d" % i for i in range(23)))
        out = self.path("poison")
        _, err = self.assert_fails(5, ["diverged 3 times", "10 updates in a row", "learning rate 0.0025", "--lr",
                                       "--clip", "step 0"],
                                   "train", "--data", self.data, "--out", out, *TINY, "--cell", "relu",
                                   "--init-from", path)
        self.assertEqual(err.count("back to step 0"), 2, err)
        self.assertIn("on with 0.005", err)
        self.assertIn("on with 0.0025", err)


if __name__ == "__main__":
    unittest.main()
