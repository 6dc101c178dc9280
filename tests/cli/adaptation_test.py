"""Models that follow the text: --cache, --dynamic, tune and --mc-dropout of eval and score."""

import json
import os
import re
import unittest

from program import ProgramTest, run, sentences


def json_eval(test, *args):
    code, out, err = run("eval", *args, "--json", "--threads", "1")
    test.assertEqual(code, 0, err)
    return json.loads(out), err


class AdaptationTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, _, _ = cls.train("run", "--epochs", "2", "--layers", "2", "--dropout", "0.3")
        # A text that repeats itself: there is something to follow.
        line = sentences(4, 9, words=5)
        cls.text = cls.write("repeats.txt", (line * 12))
        cls.valid = cls.write("repeats.valid.txt", (sentences(4, 10, words=5) * 12))
        with open(cls.path("run/model.safetensors"), "rb") as f:
            cls.bytes = f.read()

    def eval(self, *args):
        return json_eval(self, self.model, self.text, *args)[0]

    def test_the_cache_helps_where_words_come_again(self):
        plain = self.eval()
        cached = self.eval("--cache", "window=50,theta=1,lambda=0.2")
        self.assertEqual(cached["tokens"], plain["tokens"])
        self.assertLess(cached["ppl"], plain["ppl"])
        self.assertEqual(cached["adaptation"]["cache"], {"window": 50, "theta": 1, "lambda": 0.2})
        for flags in (("--batch", 1, "--bptt", 3), ("--batch", 7, "--bptt", 11)):
            again = self.eval("--cache", "window=50,theta=1,lambda=0.2", *flags)
            self.assertLess(abs(again["ppl"] / cached["ppl"] - 1), 1e-5)
        self.assertAlmostEqual(self.eval("--cache", "lambda=0")["ppl"], plain["ppl"], 4)

    def test_dynamic_evaluation_helps_and_leaves_the_model_alone(self):
        plain = self.eval()
        flags = ("--dynamic", "lr=0.002,lambda=0.01,segment=5")
        dynamic = self.eval(*flags)
        self.assertLess(dynamic["ppl"], plain["ppl"])
        self.assertEqual(self.eval(*flags)["nats"], dynamic["nats"])
        # Beside the training text of the model's settings, another may be given.
        train = os.path.join(self.data, "train.txt")
        self.assertEqual(self.eval(*flags, "--dynamic-train", train)["nats"], dynamic["nats"])
        both = self.eval(*flags, "--cache", "window=50,theta=1,lambda=0.2")
        self.assertLess(both["ppl"], dynamic["ppl"])
        self.assertEqual(set(both["adaptation"]), {"cache", "dynamic"})
        with open(self.path("run/model.safetensors"), "rb") as f:
            self.assertEqual(f.read(), self.bytes)

    def test_score_agrees_with_eval(self):
        flags = ("--cache", "window=30", "--dynamic", "lr=0.001", "--reset", "never")
        code, out, err = run("score", self.model, self.text, *flags, "--log-base", "e", "--format", "json",
                             "--threads", "1")
        self.assertEqual(code, 0, err)
        total = -sum(json.loads(line)["log_prob"] for line in out.splitlines())
        self.assertAlmostEqual(total, self.eval(*flags)["nats"], 4)

    def test_tuning_reads_the_validation_text_and_says_what_it_found(self):
        for flags in (("--cache", "tune"), ("--dynamic", "tune,lr=0.001"), ("--dynamic", "tune,lr=0.002", "--cache",
                                                                           "tune,window=20")):
            found, err = json_eval(self, self.model, self.text, *flags, "--tune-on", self.valid)
            self.assertEqual(len(re.findall("^tuned: ", err, re.M)), len(flags) // 2, err)
            # The values that were found, given by hand, score the same.
            again = []
            for name in ("cache", "dynamic"):
                if name in found["adaptation"]:
                    values = found["adaptation"][name]
                    again += ["--" + name, ",".join("%s=%r" % item for item in values.items())]
            self.assertLess(abs(self.eval(*again)["ppl"] / found["ppl"] - 1), 1e-6)
        self.assertEqual(found["adaptation"]["cache"]["window"], 20)
        # On the validation text itself, tuned values are no worse than the defaults.
        tuned, err = json_eval(self, self.model, self.valid, "--cache", "tune", "--tune-on", self.valid)
        self.assertLess(tuned["ppl"], json_eval(self, self.model, self.valid, "--cache", "lambda=0.1")[0]["ppl"])
        self.assertIn("tuning ppl %.2f" % tuned["ppl"], err)
        _, err = json_eval(self, self.model, self.text, "--cache", "tune", "--tune-on", self.valid, "--tune-tokens", 40)
        self.assertRegex(err, r"\(4\d tokens\)")

    def test_mixtures_take_an_adapting_model(self):
        kn = self.path("kn")
        code, _, err = run("train", "--recipe", "kn5", "--data", self.data, "--out", kn, "--order", "2", "--discount-fallback", "--vocab-of",
                           self.model)
        self.assertEqual(code, 0, err)
        mix = ("--mix", kn, "--weights", "0.6,0.4")
        self.assertLess(self.eval("--cache", "window=50,theta=1,lambda=0.2", *mix)["ppl"], self.eval(*mix)["ppl"])
        tuned = self.eval("--cache", "tune", "--tune-on", self.valid, "--mix", kn, "--tune", self.valid)
        self.assertEqual(len(tuned["mixture"]), 2)
        self.assert_fails(2, ["neural", "--cache-ngram"], "eval", kn, self.text, "--cache", "window=5")

    def test_monte_carlo_dropout(self):
        one = self.eval("--mc-dropout", 1)
        many = self.eval("--mc-dropout", 25)
        self.assertLess(many["ppl"], one["ppl"])  # the mean of probabilities is above the mean of their logarithms
        self.assertEqual(self.eval("--mc-dropout", 25)["nats"], many["nats"])
        self.assertNotEqual(self.eval("--mc-dropout", 25, "--mc-seed", 2)["nats"], many["nats"])
        for name, flags in (("dropped", ("--weight-drop", "0.4")), ("recurrent", ("--dropout-recurrent", "0.4"))):
            noisy, _, _ = self.train(name, *flags)
            self.assertNotEqual(json_eval(self, noisy, self.text, "--mc-dropout", 3)[0]["nats"],
                                json_eval(self, noisy, self.text)[0]["nats"])
        # Dropout between layers of which there is one.
        between = ("--dropout", "0.4", "--dropout-input", "0", "--dropout-output", "0")
        for name, flags in (("dry", ()), ("one", between)):
            dry, _, _ = self.train(name, *flags)
            self.assert_fails(2, ["--mc-dropout", "without dropout"], "eval", dry, self.text, "--mc-dropout", "3")

    def test_flags_that_do_not_fit(self):
        fails = lambda words, *flags: self.assert_fails(2, words, "eval", self.model, self.text, *flags)
        fails(["--cache", "windw", "did you mean 'window'"], "--cache", "windw=5")
        fails(["--cache", "\"\"", "window="], "--cache", "window=5,")
        fails(["--cache", "\"\"", "tune"], "--cache", "")
        fails(["--dynamic", "\"\"", "tune"], "--dynamic", "")
        fails(["theta", "number", "0 to 1000"], "--cache", "theta=-1")
        fails(["window", "whole number"], "--cache", "window=2.5")
        fails(["lambda", "0.999"], "--cache", "lambda=1")
        fails(["lr", "number"], "--dynamic", "lr=fast")
        fails(["segment", "1 to 1000"], "--dynamic", "segment=0")
        fails(["--cache tune", "--tune-on"], "--cache", "tune")
        fails(["--tune-on", "--cache tune"], "--cache", "window=5", "--tune-on", self.valid)
        fails(["--dynamic-train", "--dynamic"], "--dynamic-train", self.text)
        fails(["--mc-dropout", "--cache"], "--mc-dropout", "3", "--cache", "window=5")
        fails(["--mc-dropout"], "--mc-dropout", "-1")
        fails(["--mc-seed", "--mc-dropout"], "--mc-seed", "7")
        fails(["--cache", "--reset never"], "--cache", "window=5", "--reset", "line")
        fails(["nosuch", "--tune-on"], "--cache", "tune", "--tune-on", self.path("nosuch"))
        fails(["nosuch", "--dynamic-train"], "--dynamic", "lr=1e-4", "--dynamic-train", self.path("nosuch"))
        short = self.write("short.txt", "w1 w2\n")
        self.assert_fails(3, [short, "segment + 1 = 6", "--dynamic-train"], "eval", self.model, self.text, "--dynamic",
                          "lr=1e-4", "--dynamic-train", short)
        self.assert_fails(7, ["TMPDIR"], "eval", self.model, self.text, "--dynamic", "lr=1e-4",
                          env={**os.environ, "TMPDIR": self.path("nosuch")})
        self.assert_fails(2, ["--dynamic", "--reset never"], "score", self.model, self.text, "--dynamic", "lr=1e-4")

    def test_a_training_text_that_is_gone_is_named(self):
        train, moved = os.path.join(self.data, "train.txt"), self.path("moved.txt")
        os.rename(train, moved)
        try:
            self.assert_fails(2, [train, "--dynamic-train"], "eval", self.model, self.text, "--dynamic", "lr=1e-4")
        finally:
            os.rename(moved, train)


if __name__ == "__main__":
    unittest.main()
