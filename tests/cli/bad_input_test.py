"""What cannot work ends with the right exit code and a message that names the place and the fix."""

import os
import resource
import struct
import subprocess
import tempfile
import unittest

from program import PROGRAM, ProgramTest, TINY, read_safetensors, run, sentences, write_safetensors


class UsageTest(ProgramTest):
    def test_missing_files_name_path_reason_and_flag(self):
        gone = self.path("gone.txt")
        valid = self.path("data/valid.txt")
        for flags, words in [
            (["--train", gone, "--valid", valid], [gone, "No such file", "--train"]),
            (["--train", valid, "--valid", gone], [gone, "No such file", "--valid"]),
            (["--train", valid, "--valid", valid, "--test", gone], [gone, "No such file", "--test"]),
            (["--data", self.data, "--vocab", gone], [gone, "--vocab"]),
            (["--data", self.data, "--recipe", "gone.toml"], ["gone.toml", "No such file", "--recipe"]),
            (["--data", gone], [gone, "--data"]),
        ]:
            with self.subTest(flags=flags):
                self.assert_fails(2, words, "train", "--out", self.path("no"), *TINY, *flags)
        self.assert_fails(2, [gone, "MODEL"], "eval", gone, valid)
        self.assert_fails(2, [self.data, "model.safetensors"], "info", self.data)
        self.assert_fails(2, [gone, "--resume"], "train", "--resume", gone)

    def test_unknown_names_get_the_nearest(self):
        self.assert_fails(2, ["--hiden", "--hidden"], "train", "--hiden", "3")
        self.assert_fails(2, ["evall", "eval"], "evall")
        self.assert_fails(2, ["--versoin", "--version"], "--versoin")
        self.assert_fails(2, ["--tempreture", "--temperature"], "generate", "m", "--tempreture", "1")
        self.assert_fails(2, ["zaremba-smal", "zaremba-small"], "recipes", "zaremba-smal")
        out = ["train", "--data", self.data, "--out", self.path("no")]
        self.assert_fails(2, ["hiden", "hidden"], *out, "--set", "hiden=3")
        self.assert_fails(2, ["demoo", "demo"], *out, "--recipe", "demoo")

    def test_values_out_of_range_name_flag_and_range(self):
        out = ["train", "--data", self.data, "--out", self.path("no")]
        self.assert_fails(2, ["--dropout", "0.99"], *out, "--dropout", "1.5")
        self.assert_fails(2, ["--hidden", "12x"], *out, "--hidden", "12x")
        self.assert_fails(2, ["--cell", "lstm"], *out, "--cell", "lstmm")
        self.assert_fails(2, ["device", "gpu", "cuda:N"], *out, "--device", "gpu")
        self.assert_fails(2, ["precision", "tf32", "fp32", "GPU"], *out, "--device", "cpu", "--precision", "tf32")
        self.assert_fails(2, ["--temperature", "--greedy"], "generate", "m", "--temperature", "0")
        self.assert_fails(2, ["--top-p", "1"], "generate", "m", "--top-p", "1.5")
        self.assert_fails(2, ["--temperature", "warm", "number"], "generate", "m", "--temperature", "warm")
        self.assert_fails(2, ["--seed", "-1", "0 to 9223372036854775807"], "generate", "m", "--seed", "-1")
        self.assert_fails(2, ["--hidden", "missing"], *out, "--hidden")
        for flags in (["--threads", "-1"], ["--threads", "1000000"], ["--batch", "x"]):
            self.assert_fails(2, flags, "eval", "m", "t", *flags)
        run_dir, _, _ = self.train("shapes")
        for flags in (["--batch", "0"], ["--bptt", "0"], ["--bptt", "100000000"], ["--batch", "1000000", "--bptt", "1000000"]):
            self.assert_fails(2, [*flags, "1048576"], "eval", run_dir, self.path("data/test.txt"), *flags)
        recipe = self.write("bad.toml", "hidden = 5\nhiden = 6\n")
        self.assert_fails(2, ["bad.toml:2", "hidden"], *out, "--recipe", recipe)

    def test_combinations_that_do_not_fit(self):
        train = self.path("data/train.txt")
        self.assert_fails(2, ["--data", "--train"], "train", "--out", self.path("no"), "--data", self.data,
                          "--train", train)
        self.assert_fails(2, ["--out", "--resume"], "train", "--data", self.data)
        self.assert_fails(2, ["--out", "--resume"], "train", "--out", "a", "--resume", "b")
        self.assert_fails(2, ["validation", "--valid"], "train", "--out", self.path("no"), "--train", train)
        self.assert_fails(2, ["step", "CPU", "--schedule auto"], "train", "--out", self.path("cpu"), "--data", self.data,
                          "--device", "cpu", "--batch", "4", "--bptt", "8", "--schedule", "step")
        self.assertFalse(os.path.exists(self.path("cpu")), "a refused run left its folder")
        run_dir, _, _ = self.train("lstm")
        for flags in (["--cell", "gru"], ["--unit", "char"]):
            self.assert_fails(2, flags, "eval", run_dir, self.path("data/test.txt"), *flags)

    def test_paths_that_cannot_be_looked_at(self):
        self.assert_fails(7, ["File name too long"], "train", "--data", self.data, "--out", self.path("x" * 300))
        loop = self.path("loop/model.safetensors")
        os.makedirs(os.path.dirname(loop))
        os.symlink("model.safetensors", loop)
        self.assert_fails(2, [loop, "Too many levels"], "eval", os.path.dirname(loop), self.path("data/test.txt"))

    def test_two_matches_in_a_data_folder_are_both_named(self):
        for name in ("a.train.txt", "b.train.txt", "x.valid.txt"):
            self.write("two/" + name, "a b c\n")
        self.assert_fails(2, ["a.train.txt", "b.train.txt", "--valid"], "train", "--data", self.path("two"), "--out",
                          self.path("no"))
        self.write("none/readme", "x\n")
        self.assert_fails(2, ["train", "readme", "--valid"], "train", "--data", self.path("none"), "--out",
                          self.path("no"))
        self.assert_fails(2, ["Not a directory", "--valid"], "train", "--data", self.path("none/readme"), "--out",
                          self.path("no"))

    def test_a_run_is_not_overwritten_nor_its_model_changed(self):
        run_dir, _, _ = self.train("once")
        self.assert_fails(2, ["--resume", "--out"], "train", "--data", self.data, "--out", run_dir)
        self.assert_fails(2, ["--hidden", "--init-from"], "train", "--resume", run_dir, "--hidden", "5")


class DataTest(ProgramTest):
    def fails(self, code, words, train, valid="a b\n", *flags):
        self.write("d/train.txt", train)
        self.write("d/valid.txt", valid)
        return self.assert_fails(code, words, "train", "--data", self.path("d"), "--out",
                                 self.path("no"), *TINY, *flags)

    def test_empty_and_too_small(self):
        self.fails(3, ["train.txt", "empty"], "")
        self.fails(3, ["valid.txt", "empty"], "a b c d\n" * 30, "")
        # 5 tokens: 4 lanes of 6 + 1 tokens need 28.
        self.fails(3, ["5", "28", "--batch"], "a b c d\n")

    def test_bad_vocabulary_line(self):
        vocab = self.write("v.txt", "<eos>\n<unk>\na 1 2 3\n")
        self.fails(3, ["v.txt:3", "a 1 2 3"], "a b c d\n" * 30, "a b\n", "--vocab", vocab)
        vocab = self.write("v.txt", "<eos>\na\na\n")
        self.fails(3, ["v.txt:3"], "a b c d\n" * 30, "a b\n", "--vocab", vocab)

    def test_a_character_that_the_vocabulary_lacks(self):
        self.fails(3, ["valid.txt:2", "z", "min_count = 2"], "abc\n" * 30, "ab\nza\n", "--unit", "char")
        code, _, err = run("train", "--data", self.path("d"), "--out", self.path("cut"), *TINY, "--unit", "char",
                           "--min-count", "2")
        self.assertEqual(code, 0, err)

    def test_damaged_gzip(self):
        self.fails(3, ["train.txt"], b"\x1f\x8b\x08\x00garbage")


class WarningTest(ProgramTest):
    def warnings(self, train, valid):
        self.write("w/train.txt", train)
        self.write("w/valid.txt", valid)
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            code, _, err = run("train", "--data", self.path("w"), "--out", out, *TINY, "--quiet")
        self.assertEqual(code, 0, err)
        return [line for line in err.splitlines() if line.startswith("warning:")]

    def test_odd_bytes_are_counted_and_located(self):
        text = sentences(60, 1).encode()
        valid = sentences(5, 2)
        for odd, words in [(b"w1 \xff w2\n", ["1 byte", "UTF-8", "at byte %d" % (len(text) + 3), "train.txt"]), (b"w1 w2\r\n", ["1 carriage return"]),
                           (b"w1 \0 w2\n", ["NUL"])]:
            found = self.warnings(text + odd, valid)
            self.assertTrue(any(all(w in line for w in words) for line in found), found)
        found = self.warnings(b"\xef\xbb\xbf" + text, valid)
        self.assertTrue(any("byte order mark" in line for line in found), found)
        self.assertEqual(self.warnings(text, valid), [])

    def test_unknown_words_and_copied_text(self):
        found = self.warnings(sentences(60, 1), "x1 x2 w3\n" * 9)
        self.assertTrue(any("50.0%" in line and "vocabulary" in line for line in found), found)
        long = " ".join("w%d" % (i % 23) for i in range(25)) + "\n"
        found = self.warnings(sentences(60, 1) + long, long * 3)
        self.assertTrue(any("training text" in line for line in found), found)


class ModelFileTest(ProgramTest):
    def test_files_that_are_no_model(self):
        run_dir, _, _ = self.train("run")
        good = os.path.join(run_dir, "model.safetensors")
        text = self.path("data/test.txt")
        with open(good, "rb") as f:
            data = f.read()
        for name, content, words in [
            ("text.safetensors", b"hello\n", ["safetensors"]),
            ("cut.safetensors", data[:-10], ["truncated"]),
            ("header.safetensors", data[:40], ["header"]),
        ]:
            with self.subTest(name=name):
                self.assert_fails(4, [name, *words], "eval", self.write(name, content), text)
        tensors, metadata = read_safetensors(good)
        path = self.path("new.safetensors")
        write_safetensors(path, tensors, {**metadata, "unroll_format": "99"})
        self.assert_fails(4, [path, "newer"], "eval", path, text)
        state = os.path.join(run_dir, "state.safetensors")
        self.assert_fails(4, [state, "model.safetensors"], "eval", state, text)
        config = metadata["config"].replace("hidden = 9", "hidden = 10")
        write_safetensors(path, tensors, {**metadata, "config": config})
        self.assert_fails(4, [path, "rnn.weight_ih_l0", "[36,7]", "[40,7]"], "eval", path, text)

    def test_a_weight_that_is_not_finite_is_named(self):
        run_dir, _, _ = self.train("nan")
        tensors, metadata = read_safetensors(os.path.join(run_dir, "model.safetensors"))
        path = self.path("nan.safetensors")
        for name, value in (("encoder.weight", "nan"), ("rnn.bias_ih_l0", "inf")):
            dtype, shape, data = tensors[name]
            data = data[:8] + struct.pack("<f", float(value)) + data[12:]
            write_safetensors(path, {**tensors, name: (dtype, shape, data)}, metadata)
            self.assert_fails(4, [path, name, "not finite", "element 2"], "eval", path, self.path("data/test.txt"))

    def test_vocabulary_of_another_model(self):
        run_dir, _, _ = self.train("run2")
        other = self.write("words.txt", "<eos>\n<unk>\na\n")
        self.assert_fails(4, ["words.txt", "hash"], "eval", run_dir, self.path("data/test.txt"), "--vocab",
                          other)
        # The run's own text changes, and with it the vocabulary: the state does not belong to it.
        code, _, err = run("train", "--resume", run_dir, "--epochs", "2")
        self.assertEqual(code, 0, err)
        path = self.path("data/train.txt")
        with open(path, "rb") as f:
            saved = f.read()
        self.write("data/train.txt", saved + b"brand new words here\n")
        try:
            self.assert_fails(4, ["state.safetensors", "vocabulary"], "train", "--resume", run_dir, "--epochs", "3")
        finally:
            self.write("data/train.txt", saved)


class ResourceTest(ProgramTest):
    def test_a_run_that_cannot_fit_is_refused_before_its_first_step(self):
        out = self.path("huge")
        self.assert_fails(6, ["weights", "optimiser", "free", "--hidden", "--emb", "--vocab-size"], "train", "--data",
                          self.data, "--out", out, "--device", "cpu", "--hidden", "60000", "--layers", "60")
        self.assertFalse(os.path.exists(os.path.join(out, "log.jsonl")))

    def test_activations_that_cannot_fit(self):
        self.write("long/train.txt", "a b c d e f g\n" * 200000)
        self.write("long/valid.txt", "a b c\n")
        self.assert_fails(6, ["activations", "logits", "--bptt"], "train", "--data", self.path("long"),
                          "--out", self.path("long-run"), "--device", "cpu", "--hidden", "64", "--layers", "64",
                          "--emb", "1", "--batch", "1", "--bptt", "800000", "--optimizer", "sgd")

    def test_no_gpu(self):
        tiny = [a for a in TINY if a not in ("--device", "cpu")]
        code, _, err = run("train", "--data", self.data, "--out", self.path("auto"), "--device", "auto", *tiny)
        self.assertEqual(code, 0, err)
        if "NVIDIA" in err.split("device", 1)[1].splitlines()[0]:
            self.skipTest("this machine has a GPU")
        self.assertRegex(err, r"device +CPU, 1 thread \(.*(CUDA|driver|GPU)")
        self.assert_fails(6, ["--device cuda", "--device cpu"], "train", "--data", self.data, "--out",
                          self.path("gpu"), "--device", "cuda")


class DivergenceTest(ProgramTest):
    def test_rolls_back_twice_and_gives_up_the_third_time(self):
        for name, flags in [("sgd", ["--optimizer", "sgd", "--epochs", "20"]),
                            ("short", ["--optimizer", "adam", "--epochs", "20", "--batch", "16", "--bptt", "12"])]:
            with self.subTest(name):
                out = self.path("nan-" + name)
                _, err = self.assert_fails(5, ["step", "learning rate", "--lr", "--clip", "state.safetensors"], "train",
                                           "--data", self.data, "--out", out, *TINY, *flags, "--lr", "1e6",
                                           "--init", "uniform:10", "--cell", "relu", "--layers", "20", "--clip", "0")
                self.assertEqual(err.count("back to step"), 2, err)
                self.assertIn("500000", err)
                self.assertIn("250000", err)


class DiskTest(ProgramTest):
    @staticmethod
    def limit(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    def test_a_full_disk_keeps_the_old_checkpoint(self):
        run_dir, _, _ = self.train("disk")
        state = os.path.join(run_dir, "state.safetensors")
        with open(state, "rb") as f:
            before = f.read()
        self.assert_fails(7, ["safetensors", "the old one is kept"], "train", "--resume", run_dir, "--epochs", "2",
                          preexec_fn=self.limit(10000))
        with open(state, "rb") as f:
            self.assertEqual(f.read(), before)
        self.assertEqual([n for n in os.listdir(run_dir) if "tmp" in n], [])
        code, _, err = run("train", "--resume", run_dir, "--epochs", "2")
        self.assertEqual(code, 0, err)

    def test_a_disk_full_at_once_shows_before_training(self):
        self.assert_fails(7, ["full", "File too large"], "train", "--data", self.data, "--out", self.path("full"), *TINY,
                          preexec_fn=self.limit(2048))

    def test_samples_that_cannot_be_written(self):
        out = self.path("no-samples")
        os.makedirs(os.path.join(out, "samples.txt"))
        self.assert_fails(7, ["samples.txt", "Is a directory"], "train", "--data", self.data, "--out", out, *TINY)

    def test_results_that_cannot_be_written(self):
        run_dir, _, _ = self.train("stdout")
        # eval's lines wait in a buffer until the end, score's fill it before.
        for verb in (["eval"], ["score", "--level", "word"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *verb, run_dir, self.path("data/test.txt"), "--threads", "1"],
                                      stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 7, done.stderr)
            self.assertIn(b"standard output", done.stderr)


if __name__ == "__main__":
    unittest.main()
