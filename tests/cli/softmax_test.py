"""Output layers through the program: training, evaluation, scoring, generation, resume, PyTorch's names."""

import json
import math
import os
import re
import unittest

from program import ProgramTest, read_safetensors, run, write_safetensors

KINDS = {
    "adaptive": ["--softmax", "adaptive", "--adaptive-cutoffs", "5,14", "--div-value", "2"],
    "adaptive_tied": ["--softmax", "adaptive", "--adaptive-cutoffs", "5,14", "--tied"],
    "sampled": ["--softmax", "sampled", "--samples", "8", "--sampler", "unigram"],
    "nce": ["--softmax", "nce", "--samples", "20", "--sampler", "unigram", "--tied", "--lr", "0.03"],
    "class": ["--softmax", "class", "--classes", "6"],
}
V = 25


class SoftmaxTest(ProgramTest):
    def eval(self, *args):
        code, out, err = run("eval", *args, self.path("data/valid.txt"), "--json", "--threads", "1")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_every_kind_learns_and_is_evaluated_exactly(self):
        for name, flags in KINDS.items():
            with self.subTest(name):
                path, out, err = self.train(name, *flags, "--epochs", "6")
                reported = float(re.search(r"valid ppl ([\d.]+)", out).group(1))
                self.assertLess(reported, 0.7 * V, "no better than guessing")
                result = self.eval(path)
                self.assertAlmostEqual(math.exp(result["nats"] / result["tokens"]), reported, delta=0.006)
                code, text, err = run("generate", path, "--prompt", "w1 w5", "--length", "8", "--threads", "1")
                self.assertEqual(code, 0, err)
                self.assertIn("w", text)

    def test_smoothing_z_loss_and_cap_are_trained_with_and_the_cap_is_kept(self):
        path, out, err = self.train("capped", "--label-smoothing", "0.1", "--z-loss", "1e-3", "--soft-cap", "2",
                                    "--epochs", "6")
        self.assertIn("full: label_smoothing, z_loss and soft_cap", err)
        reported = float(re.search(r"valid ppl ([\d.]+)", out).group(1))
        self.assertLess(reported, 0.7 * V)
        result = self.eval(path)
        self.assertAlmostEqual(math.exp(result["nats"] / result["tokens"]), reported, delta=0.006)
        with open(os.path.join(path, "config.toml")) as f:
            self.assertIn("soft_cap = 2", f.read())
        code, text, err = run("generate", path, "--prompt", "w1 w5", "--length", "8", "--threads", "1")
        self.assertEqual(code, 0, err)

    def test_a_resumed_run_ends_as_one_that_was_not_interrupted(self):
        for name in ("adaptive_tied", "sampled"):
            flags = KINDS[name]
            whole, _, _ = self.train(name + "-whole", *flags, "--epochs", "2")
            part, _, _ = self.train(name + "-part", *flags, "--epochs", "1")
            code, _, err = run("train", "--resume", part, "--epochs", "2", "--threads", "1")
            self.assertEqual(code, 0, err)
            tensors = [read_safetensors(os.path.join(p, "model.safetensors"))[0] for p in (whole, part)]
            self.assertEqual(tensors[0], tensors[1])

    def test_the_choice_is_said_and_kept(self):
        path, _, err = self.train("auto")
        self.assertIn("softmax   full: 25 words are fewer than 75000", err)
        with open(os.path.join(path, "log.jsonl")) as f:
            choices = [r["choice"] for r in map(json.loads, f) if r["kind"] == "softmax"]
        self.assertEqual(choices, ["full: 25 words are fewer than 75000"])
        with open(os.path.join(path, "config.toml")) as f:
            self.assertIn('softmax = "full"', f.read())
        path, _, err = self.train("classes", "--softmax", "class")
        self.assertIn("softmax   over 5 classes, then within one", err)
        with open(os.path.join(path, "config.toml")) as f:
            self.assertIn("classes = 5", f.read())

    def test_an_adaptive_softmax_has_pytorchs_names_and_loads_without_settings(self):
        path, _, _ = self.train("torch", *KINDS["adaptive"], "--head-bias")
        tensors, metadata = read_safetensors(os.path.join(path, "model.safetensors"))
        shapes = {name: t[1] for name, t in tensors.items() if name.startswith("decoder")}
        self.assertEqual(shapes, {"decoder.head.weight": [7, 9], "decoder.head.bias": [7],
                                  "decoder.tail.0.0.weight": [4, 9], "decoder.tail.0.1.weight": [9, 4],
                                  "decoder.tail.1.0.weight": [2, 9], "decoder.tail.1.1.weight": [11, 2]})
        self.assertNotIn("decoder.weight", metadata)
        weights = self.path("bare.safetensors")
        write_safetensors(weights, tensors)
        words = [line.split(" ")[0] for line in metadata["vocab"].splitlines()[1:]]
        vocab = self.write("bare.txt", "\n".join(words) + "\n")
        self.assertEqual(self.eval(weights, "--vocab", vocab)["nats"], self.eval(path)["nats"])

    def test_what_does_not_fit_is_refused(self):
        def refused(words, *flags):
            self.assert_fails(2, words, "train", "--data", self.data, "--out", self.path("no"), *flags)
        refused(["softmax", "mixtures"], "--softmax", "class", "--mixtures", "3")
        refused(["soft_cap = 30", "softmax = \"adaptive\""], "--soft-cap", "30", "--softmax", "adaptive",
                "--adaptive-cutoffs", "5")
        refused(["label_smoothing", "mixtures = 3"], "--label-smoothing", "0.1", "--mixtures", "3")
        refused(["beyond the 25 words"], "--softmax", "adaptive", "--adaptive-cutoffs", "5,25")
        refused(["rise", "4000,20000"], "--softmax", "adaptive", "--adaptive-cutoffs", "9,5")
        refused(["no cut-offs are faster", "--softmax full"], "--softmax", "adaptive")
        refused(["--samples", "sampled or nce", "softmax = \"full\""], "--softmax", "full", "--samples", "9")
        refused(["--sampler", "sampled or nce", "softmax = \"auto\""], "--sampler", "unigram")
        refused(["--classes", "--softmax class"], "--softmax", "adaptive", "--classes", "9")
        refused(["--div-value", "--softmax adaptive"], "--softmax", "nce", "--div-value", "2")


if __name__ == "__main__":
    unittest.main()
