"""The verbs on small texts: every cell and form of training, generate, info, recipes, help."""

import json
import os
import re
import subprocess
import time
import unittest

from program import ProgramTest, TINY, run, start


class TrainTest(ProgramTest):
    def test_every_form_trains_and_leaves_a_whole_run_directory(self):
        forms = [
            ["--cell", "lstm", "--tied", "--emb", "9"],
            ["--cell", "gru", "--tied", "--batching", "sentence"],  # projected: emb 7, hidden 9
            ["--cell", "tanh", "--unit", "char", "--optimizer", "sgd", "--lr", "0.1"],
            ["--cell", "relu", "--residual", "--layers", "2", "--biases", "1"],
            ["--precision", "fp64", "--accum", "2", "--loss", "sum_time", "--lr-schedule", "zaremba"],
            ["--cell", "gru", "--dropout", "0.3", "--dropout-kind", "locked", "--lr-schedule", "plateau"],
            ["--vocab-size", "12", "--patience", "1", "--set", "epochs=2", "--init", "uniform:0.1"],
            ["--max-time", "1h", "--min-count", "2", "--weight-decay", "0.01", "--eager"],
        ]
        for i, form in enumerate(forms):
            with self.subTest(form=form):
                path, out, err = self.train("form%d" % i, *form)
                self.assertRegex(out, r"^valid ppl [0-9.]+ \([0-9,]+ tokens, best epoch 1\)\n"
                                      r"test ppl [0-9.]+ \([0-9,]+ tokens\)\n$")
                self.assertIn("memory", err)
                for name in ("model.safetensors", "state.safetensors", "config.toml", "log.jsonl", "plot.svg",
                             "samples.txt", "tb"):
                    self.assertTrue(os.path.exists(os.path.join(path, name)), name)
                code, out, err = run("eval", path, self.path("data/test.txt"), "--threads", "1")
                self.assertEqual(code, 0, err)
                code, out, err = run("generate", path, "--length", "3", "--threads", "1")
                self.assertEqual(code, 0, err)

    def test_a_vocabulary_brings_its_unit(self):
        chars, _, _ = self.train("chars", "--unit", "char", "--max-steps", "2")
        path, _, _ = self.train("more-chars", "--vocab-of", chars, "--max-steps", "2")
        with open(path + "/config.toml") as f:
            self.assertIn('unit = "char"', f.read())

    def test_settings_come_from_recipe_then_set_then_flags(self):
        recipe = self.write("my.toml", "hidden = 5\nemb = 4\nlayers = 1\nbatch = 2\nbptt = 5\nepochs = 1\n")
        code, _, err = run("train", "--recipe", recipe, "--set", "hidden=6", "--nhid", "8", "--set", "emb=3", "--data",
                           self.data, "--out", self.path("set"), "--device", "cpu", "--threads", "1")
        self.assertEqual(code, 0, err)
        code, out, err = run("info", self.path("set"), "--json")
        info = json.loads(out)
        self.assertEqual((info["hidden"], info["emb"], info["layers"]), (8, 3, 1))

    def test_more_threads_than_cores_are_noted(self):
        many = str(os.cpu_count() + 1)
        self.assertIn(many + " threads share", self.train("many", "--threads", many, "--max-steps", "2")[2])
        self.assertNotIn("threads share", self.train("one", "--max-steps", "2")[2])

    def test_standard_input_and_quiet(self):
        with open(self.path("data/train.txt"), "rb") as f:
            text = f.read()
        path = self.path("stdin")
        code, out, err = run("train", "--train", "-", "--valid", self.path("data/valid.txt"), "--out", path, *TINY,
                             "--quiet", stdin=text)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out.count("\n"), 1)
        code, _, err = run("train", "--resume", path, "--epochs", "2")
        self.assertEqual(code, 0, err)

    def test_weights_of_another_model_with_its_words_remapped(self):
        first, _, _ = self.train("first", "--epochs", "8")
        self.train("plain", "--max-steps", "1", "--lr", "1e-9")
        folder = self.path("other")
        for name in ("train", "valid"):
            with open(self.path("data/%s.txt" % name)) as f:
                self.write("other/%s.txt" % name, f.read().replace("w7", "new"))
        code, _, err = run("train", "--data", folder, "--out", self.path("second"), "--init-from", first, *TINY,
                           "--max-steps", "1", "--lr", "1e-9")
        self.assertEqual(code, 0, err)
        self.assertRegex(err, r"2[34] of 25 words \(9[26]%\)")
        # Where every word but one is known the start is near the end of the first run.
        self.assertLess(self.valid_loss("second"), self.valid_loss("first") + 0.5)
        self.assertGreater(self.valid_loss("plain"), self.valid_loss("first") + 0.7)
        self.assert_fails(4, ["weight_ih_l0", "[36,7]", "[40,7]"], "train", "--data", folder, "--out",
                          self.path("third"), "--init-from", first, *TINY, "--hidden", "10")

    def test_bf16_on_a_cpu_learns_what_fp32_does(self):
        # A processor that does not multiply bf16 computes the same, no faster, and says so.
        plain = dict(os.environ, ONEDNN_MAX_CPU_ISA="AVX2")
        flags = ["--epochs", "6", "--batch", "8"]
        self.train("fp32", *flags)
        self.train("bf16", *flags, "--precision", "bf16")
        _, _, err = self.train("slow", *flags, "--precision", "bf16", env=plain)
        self.assertIn("no instructions for bf16", err)
        exact = self.valid_loss("fp32")
        for name in ("bf16", "slow"):
            self.assertAlmostEqual(self.valid_loss(name) / exact, 1, delta=0.01)
            self.assertNotEqual(self.valid_loss(name), exact)
        nats = []
        for precision in ("fp32", "bf16"):
            code, out, err = run("eval", self.path("bf16"), self.path("data/test.txt"), "--device", "cpu",
                                 "--precision", precision, "--json")
            self.assertEqual(code, 0, err)
            nats.append(json.loads(out)["nats"])
        self.assertAlmostEqual(nats[0] / nats[1], 1, delta=0.005)
        self.assertNotEqual(*nats)

    def valid_loss(self, name):
        with open(self.path(name + "/log.jsonl")) as log:
            return [r["loss"] for r in map(json.loads, log) if r["kind"] == "valid"][-1]


class GenerateTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, _, _ = cls.train("run", "--epochs", "3")

    def generate(self, *args):
        code, out, err = run("generate", self.model, "--threads", "1", *args)
        self.assertEqual(code, 0, err)
        return out, err

    def test_the_seed_decides(self):
        flags = ["-n", "3", "--length", "30"]
        one = self.generate(*flags, "--seed", "4")
        self.assertEqual(self.generate(*flags, "--seed", "4"), one)
        self.assertNotEqual(self.generate(*flags, "--seed", "5"), one)
        # Each text has random numbers of its own: fewer texts begin alike.
        self.assertTrue(one[0].startswith(self.generate("-n", "1", "--length", "30", "--seed", "4")[0]))

    def test_greedy_is_the_likeliest(self):
        greedy, _ = self.generate("--greedy", "--length", "12", "--prompt", "w1")
        self.assertEqual(self.generate("--top-k", "1", "--length", "12", "--prompt", "w1")[0], greedy)
        self.assertEqual(self.generate("--top-p", "1e-9", "--length", "12", "--prompt", "w1")[0], greedy)
        self.assertEqual(self.generate("--temperature", "1e-4", "--length", "12", "--prompt", "w1")[0], greedy)

    def test_lengths_and_line_ends(self):
        out, _ = self.generate("--length", "200", "--until-eos", "-n", "5", "--prompt", "w3")
        texts = out.rstrip("\n").split("\n\n")
        self.assertEqual(len(texts), 5)
        for text in texts:
            self.assertTrue(text.startswith("w3"))
            self.assertNotIn("\n", text)
        self.assertEqual(self.generate("--length", "0", "--prompt", "w3 w4")[0], "w3 w4\n")
        self.assertNotIn("<unk>", self.generate("--length", "400")[0])

    def test_unknown_prompt_words_and_log_probabilities(self):
        out, err = self.generate("--prompt", "w1 zzz", "--length", "4", "--show-logprob", "--greedy")
        self.assertIn("word 2", err)
        self.assertIn("zzz", err)
        self.assertRegex(out, r"^\[log p -[0-9.]+ nats, 4 tokens, ppl [0-9.]+\]\nw1 ")
        chars, _, _ = self.train("chars", "--unit", "char", "--min-count", "65")  # without 4 and 8
        self.assertIn('"8", char 4', run("generate", chars, "--prompt", "w1 8", "--threads", "1")[2])


class TalkTest(ProgramTest):
    def test_help_fits_and_names_every_setting(self):
        for verb in ("train", "eval", "score", "generate", "info", "recipes", "selftest"):
            code, out, err = run(verb, "--help")
            self.assertEqual((code, err), (0, ""))
            for line in out.splitlines():
                self.assertLessEqual(len(line), 110, verb + ": " + line)
            self.assertNotIn("unroll VERB --help", out, "a verb's help refers to itself")
        self.assertRegex(run("generate", "--help")[1], r"--length INT\W100\W")
        out = run("train", "--help")[1]
        for word in ("--hidden", "--logits-memory", "default 200", "lstm", "--resume", "--recipe"):
            self.assertIn(word, out)
        code, out, err = run()
        self.assertIn("generate", out)
        code, out, _ = run("--version")
        self.assertRegex(out, r"^unroll \d+\.\d+\.\d+")

    def test_recipes(self):
        code, out, _ = run("recipes")
        names = [line.split()[0] for line in out.splitlines()]
        for name in ("zaremba-small", "zaremba-medium", "zaremba-large", "char-small", "demo"):
            self.assertIn(name, names)
        self.assertIn("cell =", run("recipes", "demo")[1])

    def test_info_of_model_run_and_unfinished_run(self):
        path, _, _ = self.train("run")
        whole = json.loads(run("info", path, "--json")[1])
        alone = json.loads(run("info", path + "/model.safetensors", "--json")[1])
        self.assertEqual(whole["parameters"], alone["parameters"])
        self.assertEqual(whole["vocabulary"], 25)
        self.assertAlmostEqual(whole["valid_ppl"], float(whole["valid_perplexity"]), -1)
        self.assertIn("rnn.weight_ih_l0", run("info", path)[1])
        os.remove(path + "/model.safetensors")
        code, out, err = run("info", path)
        self.assertEqual(code, 0, err)
        self.assertIn("first validation", out)

    def test_waiting_threads_spin_for_a_short_time_on_a_busy_machine(self):
        unset = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        for chosen, expected in ({}, [b"GOMP_SPINCOUNT=1000"]), ({"GOMP_SPINCOUNT": "7"}, [b"GOMP_SPINCOUNT=7"]), (
                {"OMP_WAIT_POLICY": "active"}, []):
            before = os.getloadavg()[0]
            # It waits for its text, so that it can be looked at.
            process = start("train", "--train", "-", "--valid", "-", "--out", self.path("spin"), stdin=subprocess.PIPE,
                            env={**unset, **chosen})
            end = time.monotonic() + 60
            while not os.path.exists(self.path("spin")) and time.monotonic() < end:
                time.sleep(0.01)
            with open("/proc/%d/environ" % process.pid, "rb") as f:
                variables = f.read().split(b"\0")
            process.communicate(b"")
            found, after = [v for v in variables if v.startswith(b"GOMP")], os.getloadavg()[0]
            if chosen or min(before, after) >= 0.5:
                self.assertEqual(found, expected)
            elif max(before, after) < 0.5:
                self.assertEqual(found, [])
            self.assertEqual(process.returncode, 3)
            self.assertFalse(os.path.exists(self.path("spin")))

    def test_results_and_progress_have_their_streams(self):
        _, out, err = self.train("streams", "--log-every", "5")
        self.assertEqual(out.count("\n"), 2)
        self.assertRegex(err, r"epoch 1/1 \| 5/\d+ +\d+% \| loss \d\.\d+ ppl [0-9.]+ \| [0-9.k]+ w/s \| lr 0\.01 \| "
                              r"gnorm [0-9.]+ \| ETA \d\d:\d\d\n")
        self.assertRegex(err, r"unroll eval \S+streams ")
        self.assertNotIn("\r", err)

    def test_the_profile_of_a_step(self):
        _, plain, _ = self.train("plain", "--max-steps", "6")
        _, out, err = self.train("profile", "--max-steps", "6", "--profile")
        table, results = out.split("all, one after another")
        self.assertRegex(table, r"^ms a chunk, mean of 3 +forward +backward +share\n")
        for row in (r"embedding", r"recurrent: products", r"recurrent: loop", r"linear_softmax_xent",
                    r"norm, clip, update"):
            self.assertRegex(table, r"\n" + row + r" +\d+\.\d{3} +\d+\.\d{3} +\d+\.\d%\n")
        shares = [float(share) for share in re.findall(r"([0-9.]+)%\n", table)]
        self.assertAlmostEqual(sum(shares), 100, delta=0.05 * len(shares))
        self.assertEqual(results.split("\n", 1)[1], plain)
        _, out, _ = self.train("short", "--max-steps", "2", "--profile")
        self.assertIn("the first 3 chunks do not count", out)
        code, _, err = run("train", "--recipe", "kn5", "--data", self.data, "--out", self.path("ngram"), "--profile")
        self.assertEqual(code, 2)
        self.assertIn("--profile is for recurrent models", err)


if __name__ == "__main__":
    unittest.main()
