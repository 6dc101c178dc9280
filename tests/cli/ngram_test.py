"""N-gram models, caches and mixtures through the program."""

import json
import os
import unittest

from program import ProgramTest, run, sentences


def read(path):
    with open(path, "rb") as f:
        return f.read()


class NgramTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.valid, cls.test = cls.path("data/valid.txt"), cls.path("data/test.txt")
        cls.kn = cls.path("kn")
        cls.arpa = cls.path("kn.arpa")
        cls.code, cls.out, cls.err = run("train", "--recipe", "kn5", "--data", cls.data, "--out", cls.kn, "--order", "3",
                                         "--discount-fallback", "--arpa", cls.arpa)
        cls.lstm, _, _ = cls.train("lstm", "--vocab-of", cls.kn)

    def eval(self, *args):
        code, out, err = run("eval", *args, "--json", "--threads", "1")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_train_reports_what_eval_finds(self):
        self.assertEqual(self.code, 0, self.err)
        end = json.loads(read(self.kn + "/log.jsonl").splitlines()[-1])
        for split, text in (("valid", self.valid), ("test", self.test)):
            got = self.eval(self.kn, text)
            self.assertLess(abs(got["ppl"] / end[split + "_ppl"] - 1), 1e-12)
            self.assertIn("%s ppl %.2f (%s tokens)" % (split, got["ppl"], got["tokens"]), self.out)
        self.assertIn(b'model = "ngram"', read(self.kn + "/config.toml"))

    def test_score_generate_and_info(self):
        code, out, err = run("score", self.kn, self.test, "--log-base", "e")
        self.assertEqual(code, 0, err)
        got = self.eval(self.kn, self.test)
        self.assertAlmostEqual(-sum(map(float, out.split())), got["nats"], 3)
        texts = [run("generate", self.kn, "--length", "40", "--seed", seed)[1] for seed in (3, 3, 4)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])
        code, out, err = run("info", self.kn, "--json")
        self.assertEqual(code, 0, err)
        info = json.loads(out)
        self.assertEqual((info["kind"], info["order"], len(info["ngrams"])), ("ngram", 3, 3))
        self.assertEqual(info["vocabulary_hash"], got["vocabulary_hash"])

    def test_arpa_in_and_out(self):
        want = self.eval(self.kn, self.test)["nats"]
        for extra in ([], ["--vocab-of", self.lstm]):
            self.assertLess(abs(self.eval(self.arpa, self.test, *extra)["nats"] / want - 1), 1e-12)
        # A mixture reads it into the ids of the other model.
        mixed = self.eval(self.arpa, self.test, "--mix", self.lstm, "--weights", "1,0")
        self.assertLess(abs(mixed["nats"] / want - 1), 1e-12)

    def test_a_tuned_mixture_is_at_least_as_good_as_its_parts(self):
        alone = [self.eval(m, self.valid)["ppl"] for m in (self.kn, self.lstm)]
        mixed = self.eval("--mix", self.kn, "--mix", self.lstm, self.valid, "--tune", self.valid)
        self.assertLessEqual(mixed["ppl"], min(alone) * (1 + 1e-9))
        weights = [part["weight"] for part in mixed["mixture"]]
        self.assertAlmostEqual(sum(weights), 1, 9)
        by_hand = self.eval(self.kn, self.valid, "--mix", self.lstm, "--weights", ",".join(map(repr, weights)))
        self.assertLess(abs(by_hand["ppl"] / mixed["ppl"] - 1), 1e-12)
        cached = self.eval(self.kn, self.valid, "--mix", self.lstm, "--cache-ngram", "decay:20,bigram:50", "--tune", self.valid)
        self.assertLessEqual(cached["ppl"], mixed["ppl"] * (1 + 1e-9))
        self.assertEqual([p["part"] for p in cached["mixture"]][2:], ["decay:20", "bigram:50"])
        code, out, err = run("generate", self.kn, "--cache-ngram", "decay:20", "--weights", "0.8,0.2", "--length", "10")
        self.assertEqual((code, len(out.split()) > 3), (0, True), err)

    def test_probabilities_take_part_from_a_file(self):
        for suffix in (".f32", ".txt"):
            files = {}
            for split, text in (("valid", self.valid), ("test", self.test)):
                files[split] = self.path("p-" + split + suffix)
                got = self.eval(self.lstm, text, "--write-probs", files[split])
            if suffix == ".f32":
                self.assertEqual(os.path.getsize(files["test"]), 4 * got["tokens"])
            want = self.eval(self.kn, self.test, "--mix", self.lstm, "--tune", self.valid)
            recorded = "probs:%s,%s" % (files["test"], files["valid"])
            got = self.eval(self.kn, self.test, "--mix", recorded, "--tune", self.valid)
            self.assertLess(abs(got["ppl"] / want["ppl"] - 1), 1e-6)
            self.assert_fails(3, [files["test"], "probabilities"], "eval", self.kn, self.valid, "--mix",
                              "probs:" + files["test"], "--weights", "0.5,0.5")
        self.assert_fails(2, ["probs:FILE,TUNE_FILE"], "eval", self.kn, self.test, "--mix", "probs:" + files["test"],
                          "--tune", self.valid)

    def test_wrong_mixtures_and_vocabularies(self):
        other = self.path("other")
        self.write("other-data/train.txt", sentences(90, 5, words=17))
        self.write("other-data/valid.txt", sentences(9, 6, words=17))
        code, _, err = run("train", "--recipe", "kn5", "--data", self.path("other-data"), "--out", other,
                           "--discount-fallback")
        self.assertEqual(code, 0, err)
        self.assert_fails(4, [self.lstm, other, "different vocabularies", "--vocab-of"], "eval", self.lstm, self.test,
                          "--mix", other, "--weights", "0.5,0.5")
        self.assert_fails(2, ["--tune", "--weights"], "eval", self.kn, self.test, "--mix", self.lstm)
        self.assert_fails(2, ["--weights", "sum to 0.9"], "eval", self.kn, self.test, "--mix", self.lstm,
                          "--weights", "0.5,0.4")
        self.assert_fails(2, ["decai:9", "decay:"], "eval", self.kn, self.test, "--cache-ngram", "decai:9",
                          "--weights", "0.5,0.5")
        for flags in (["--precision", "bf16"], ["--device", "cuda"], ["--eager"], ["--cell", "gru"], ["--unit", "word"],
                      ["--vocab", self.test], ["--reset", "never"]):
            self.assert_fails(2, [" ".join(flags), "n-gram"], "eval", self.kn, self.test, *flags)
        # The place of the probabilities is looked at before anything is read.
        self.assert_fails(7, [self.path("no/p")], "eval", self.kn, self.path("no"), "--write-probs", self.path("no/p"))
        self.assert_fails(2, ["model = 'LSTM'", "--cell lstm"], "train", "--data", self.data, "--out",
                          self.path("no"), "--model", "LSTM")

    def test_flags_of_the_other_kind_of_model(self):
        fails = lambda code, words, *flags: self.assert_fails(code, words, "train", "--data", self.data, "--out",
                                                              self.path("no"), *flags)
        fails(2, ["--hidden", "recurrent"], "--recipe", "kn5", "--hidden", "5")
        fails(2, ["--epochs", "recurrent"], "--recipe", "kn5", "--epochs", "5")
        fails(2, ["--device cuda", "CPU"], "--recipe", "kn5", "--device", "cuda")
        fails(2, ["--order", "n-gram"], "--order", "3")
        fails(2, ["--init-from", "n-gram", "--vocab-of " + self.kn], "--init-from", self.kn)
        fails(7, ["gone/x.arpa"], "--recipe", "kn5", "--arpa", self.path("gone/x.arpa"))
        self.assertFalse(os.path.exists(self.path("no")), "a refused run left its folder")

    def test_broken_texts_and_files(self):
        self.write("empty/train.txt", "")
        self.write("empty/valid.txt", "w1 w2\n")
        self.assert_fails(3, ["empty"], "train", "--recipe", "kn5", "--data", self.path("empty"), "--out",
                          self.path("run-empty"))
        self.write("regular/train.txt", "w1 w2 w3\n" * 40)
        self.write("regular/valid.txt", "w1 w2\n")
        self.assert_fails(3, ["order", "discount"], "train", "--recipe", "kn5", "--data", self.path("regular"),
                          "--out", self.path("run-regular"))
        self.assertFalse(os.path.exists(self.path("run-regular")), "a refused run left its folder")
        binary = read(self.kn + "/model.ngram")
        self.assert_fails(4, ["cut.ngram", "offset"], "eval", self.write("cut.ngram", binary[:len(binary) * 2 // 3]),
                          self.test)
        text = read(self.arpa).decode().splitlines()
        cut = self.write("cut.arpa", "\n".join(text[:len(text) // 2]) + "\n")
        self.assert_fails(4, ["cut.arpa:%d" % (len(text) // 2)], "eval", cut, self.test)


if __name__ == "__main__":
    unittest.main()
