"""Weights to and from PyTorch's modules: names, order, shapes, metadata, and a file as PyTorch saves it."""

import json
import os
import unittest

from program import ProgramTest, read_safetensors, run, write_safetensors

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


class InteropTest(ProgramTest):
    def test_names_and_shapes_are_those_of_torch_modules(self):
        for cell, gates in GATES.items():
            for biases in ("1", "2"):
                path, _, _ = self.train("%s%s" % (cell, biases), "--cell", cell, "--biases", biases, "--layers", "2")
                tensors, metadata = read_safetensors(os.path.join(path, "model.safetensors"))
                H, E, V, rows = 9, 7, 25, gates * 9
                expected = {"encoder.weight": [V, E], "decoder.weight": [V, H], "decoder.bias": [V]}
                for layer in (0, 1):
                    expected["rnn.weight_ih_l%d" % layer] = [rows, H if layer else E]
                    expected["rnn.weight_hh_l%d" % layer] = [rows, H]
                    expected["rnn.bias_ih_l%d" % layer] = [rows]
                    expected["rnn.bias_hh_l%d" % layer] = [rows]
                self.assertEqual({name: t[1] for name, t in tensors.items()}, expected)
                self.assertEqual({t[0] for t in tensors.values()}, {"F32"})
                self.assertEqual(metadata["format"], "pt")
                self.assertIn('cell = "%s"' % cell, metadata["config"])
                words = metadata["vocab"].split("\n")
                self.assertEqual(words[0], "word")
                if biases == "1":
                    self.assertEqual(set(tensors["rnn.bias_hh_l0"][2]), {0})

    def test_a_tied_matrix_is_stored_once_and_named_as_torch_does(self):
        path, _, _ = self.train("tied", "--tied", "--emb", "9")
        tensors, metadata = read_safetensors(os.path.join(path, "model.safetensors"))
        self.assertNotIn("decoder.weight", tensors)
        self.assertEqual(metadata["decoder.weight"], "encoder.weight")

    def bare(self, cell, *flags):
        """A model of ours as PyTorch would save its weights: (its run, the weights' path, the vocabulary's path)."""
        number = len(os.listdir(self.folder))  # a new name each time
        path, _, _ = self.train("bare-%s-%d" % (cell, number), "--cell", cell, *flags)
        tensors, metadata = read_safetensors(os.path.join(path, "model.safetensors"))
        weights = self.path("bare-%s.safetensors" % cell)
        write_safetensors(weights, tensors)
        words = [line.split(" ")[0] for line in metadata["vocab"].splitlines()[1:]]
        return path, weights, self.write("bare-%s.txt" % cell, "\n".join(words) + "\n"), tensors, words

    def eval(self, *args):
        code, out, err = run("eval", *args, self.path("data/test.txt"), "--json", "--threads", "1")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_weights_from_torch_with_a_vocabulary_file(self):
        for cell, flags in (("lstm", ["--layers", "2"]), ("gru", []), ("tanh", []), ("relu", []),
                            ("lstm", ["--tied"]),
                            ("lstm", ["--tied", "--layers", "3", "--hidden-last", "7", "--mixtures", "3"])):
            run_dir, weights, vocab, _, _ = self.bare(cell, *flags)
            more = ["--cell", "relu"] if cell == "relu" else []
            self.assertEqual(self.eval(weights, "--vocab", vocab, *more)["nats"], self.eval(run_dir)["nats"])

    def test_weights_from_torch_with_the_vocabulary_in_the_metadata(self):
        run_dir, weights, _, tensors, words = self.bare("gru")
        write_safetensors(weights, tensors, {"format": "pt", "vocab": "word\n" + "\n".join(words)})
        self.assertEqual(self.eval(weights)["nats"], self.eval(run_dir)["nats"])

    def test_training_goes_on_from_torch_weights(self):
        run_dir, weights, vocab, _, _ = self.bare("lstm", "--max-steps", "2")
        flags = ["--device", "cpu", "--threads", "1", "--hidden", "9", "--emb", "7", "--layers", "1", "--max-steps",
                 "1", "--lr", "1e-9", "--batch", "4", "--bptt", "6"]
        code, out, err = run("train", "--data", self.data, "--out", self.path("on"), "--vocab", vocab, "--init-from",
                             weights, *flags)
        self.assertEqual(code, 0, err)
        self.assertIn("row i", err)
        self.assertLess(abs(self.eval(self.path("on"))["nats"] / self.eval(run_dir)["nats"] - 1), 1e-5)

    def test_what_is_missing_is_named(self):
        _, weights, vocab, tensors, words = self.bare("gru", "--epochs", "1", "--layers", "1")
        text = self.path("data/test.txt")
        self.assert_fails(4, ["--vocab"], "eval", weights, text)
        short = self.write("short.txt", "\n".join(w for w in words if w != "w5") + "\n")
        self.assert_fails(4, ["short.txt", "24 words", "[25,7]"], "eval", weights, text, "--vocab", short)
        renamed = self.path("renamed.safetensors")
        write_safetensors(renamed, {"model." + n: t for n, t in tensors.items()})
        self.assert_fails(4, ["encoder.weight", "model.encoder.weight"], "eval", renamed, text, "--vocab", vocab)
        self.assert_fails(4, ["--cell lstm", "gru"], "eval", weights, text, "--vocab", vocab, "--cell", "lstm")
        del tensors["decoder.bias"]
        write_safetensors(renamed, tensors)
        self.assert_fails(4, ["decoder.bias"], "eval", renamed, text, "--vocab", vocab)


if __name__ == "__main__":
    unittest.main()
