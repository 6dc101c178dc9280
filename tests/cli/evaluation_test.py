"""Reported figures: independent of batch and chunk, every token scored, the same from train, eval and score."""

import gzip
import json
import math
import os
import unittest

from program import ProgramTest, run, sentences


class EvaluationTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model, cls.trained, _ = cls.train("run", "--epochs", "3", "--dropout", "0.2", "--layers", "2")
        # Empty lines, unknown words, a long line.
        lines = sentences(12, 9).splitlines() + ["", "w1 zzz w2", "", "yyy", " ".join(["w1 w2 w3"] * 30)]
        cls.lines = lines
        cls.text = cls.write("odd.txt", "\n".join(lines) + "\n")

    def eval(self, *args):
        code, out, err = run("eval", self.model, *args, "--json", "--threads", "1")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def score(self, *args, stdin=b""):
        code, out, err = run("score", self.model, *args, "--threads", "1", stdin=stdin)
        self.assertEqual(code, 0, err)
        return out

    def test_batch_and_chunk_do_not_matter(self):
        for reset in ("never", "line"):
            first = self.eval(self.text, "--reset", reset)
            self.assertEqual(first["lines"], len(self.lines))
            self.assertEqual(first["tokens"], sum(len(line.split()) + 1 for line in self.lines))
            for batch in (1, 7, 64):
                for bptt in (5, 70, 200):
                    got = self.eval(self.text, "--reset", reset, "--batch", batch, "--bptt", bptt)
                    self.assertEqual(got["tokens"], first["tokens"])
                    self.assertLess(abs(got["ppl"] / first["ppl"] - 1), 1e-6, (reset, batch, bptt))
        self.assertNotAlmostEqual(self.eval(self.text, "--reset", "never")["ppl"],
                                  self.eval(self.text, "--reset", "line")["ppl"], 3)

    def test_train_reports_what_eval_finds(self):
        for batching in ("stream", "sentence"):
            # Lines longer than bptt too.
            path, out, _ = self.train("same-" + batching, "--batching", batching, "--bptt", "8", "--epochs", "2")
            with open(path + "/log.jsonl") as log:
                end = json.loads(log.readlines()[-1])
            for split in ("valid", "test"):
                code, got, err = run("eval", path, self.path("data/%s.txt" % split), "--json", "--threads", "1")
                self.assertEqual(code, 0, err)
                got = json.loads(got)
                self.assertLess(abs(got["ppl"] / end[split + "_ppl"] - 1), 1e-6)
                self.assertEqual(got["reset"], "line" if batching == "sentence" else "never")
                self.assertIn("%s ppl %.2f (%s tokens" % (split, got["ppl"], got["tokens"]), out)

    def test_denominators(self):
        e = self.eval(self.text)
        words = sum(len(line.split()) for line in self.lines)
        characters = sum(len(line) + 1 for line in self.lines)
        self.assertEqual((e["words"], e["characters"], e["unknown"]), (words, characters, 2))
        self.assertAlmostEqual(e["ppl"], math.exp(e["nats"] / e["tokens"]), 6)
        known = math.exp((e["nats"] - e["nats_unknown"]) / (e["tokens"] - 2))
        self.assertAlmostEqual(e["ppl_without_unknown"], known, 6)
        for per, n in (("word", words), ("char", characters)):
            got = self.eval(self.text, "--ppl-per", per)
            self.assertEqual(got["denominator"], n)
            self.assertAlmostEqual(got["ppl"], math.exp(e["nats"] / n), 4)
            self.assertAlmostEqual(got["bits"], e["nats"] / n / math.log(2), 6)
            code, out, _ = run("eval", self.model, self.text, "--ppl-per", per)
            self.assertIn("ppl %.2f per %s (%d" % (got["ppl"], per, n), out.replace(",", ""))

    def test_a_character_model_counts_words_of_the_text(self):
        path, _, _ = self.train("chars", "--unit", "char")
        text = self.write("c.txt", "w1 w2\n\nw3\n")
        code, out, err = run("eval", path, text, "--json")
        e = json.loads(out)
        self.assertEqual((e["tokens"], e["words"], e["characters"], e["lines"]), (10, 3, 10, 3), err)

    def test_one_record_per_line_whatever_the_format(self):
        for level in ("line", "word"):
            out = self.score(self.text, "--level", level)
            self.assertEqual(len(out.splitlines()), len(self.lines))
            records = [json.loads(r) for r in self.score(self.text, "--level", level, "--format", "json").splitlines()]
            self.assertEqual([r["line"] for r in records], list(range(1, len(self.lines) + 1)))
            self.assertEqual([r["tokens"] for r in records], [len(line.split()) + 1 for line in self.lines])
        rows = self.score(self.text, "--format", "tsv").splitlines()
        self.assertEqual(len(rows), len(self.lines) + 1)
        rows = self.score(self.text, "--format", "tsv", "--level", "word").splitlines()[1:]
        self.assertEqual([r.split("\t")[2] for r in rows if r.startswith("%d\t" % (self.lines.index("yyy") + 1))],
                         ["yyy", "<eos>"])

    def test_scores_agree_across_levels_bases_resets_and_sources(self):
        for reset in ("line", "never"):
            total = self.eval(self.text, "--reset", reset)["nats"]
            for base, unit in (("e", 1), ("10", math.log(10)), ("2", math.log(2))):
                flags = ["--reset", reset, "--log-base", base, "--format", "json"]
                lines = [json.loads(r) for r in self.score(self.text, *flags).splitlines()]
                words = [json.loads(r) for r in self.score(self.text, *flags, "--level", "word").splitlines()]
                corpus = json.loads(self.score(self.text, *flags, "--level", "corpus"))
                self.assertAlmostEqual(-sum(r["log_prob"] for r in lines) * unit, total, 3)
                self.assertAlmostEqual(-corpus["log_prob"] * unit, total, 3)
                for line, word in zip(lines, words):
                    self.assertAlmostEqual(sum(w["log_prob"] for w in word["words"]), line["log_prob"], 4)
        plain = self.score(self.text)
        with open(self.text, "rb") as f:
            data = f.read()
        self.assertEqual(self.score("-", stdin=data), plain)
        self.assertEqual(self.score(self.write("odd.gz", gzip.compress(data))), plain)
        self.assertEqual(self.score("-", stdin=b""), "")

    def test_probabilities_sum_to_one(self):
        code, out, err = run("info", self.model, "--json")
        self.assertEqual(code, 0, err)
        vocab = [line.split(" ")[0] for line in self.vocabulary()]
        self.assertEqual(len(vocab), json.loads(out)["vocabulary"])
        words = [w for w in vocab if w != "<eos>"]
        text = self.write("each.txt", "".join("w1 w5 %s\n" % w for w in words))
        records = [json.loads(r) for r in
                   self.score(text, "--level", "word", "--format", "json", "--log-base", "e").splitlines()]
        end = [json.loads(r) for r in self.score(self.write("end.txt", "w1 w5\n"), "--level", "word", "--format",
                                                  "json", "--log-base", "e").splitlines()]
        total = sum(math.exp(r["words"][2]["log_prob"]) for r in records) + math.exp(end[0]["words"][2]["log_prob"])
        self.assertAlmostEqual(total, 1, 5)

    def vocabulary(self):
        from program import read_safetensors
        _, metadata = read_safetensors(os.path.join(self.model, "model.safetensors"))
        return metadata["vocab"].splitlines()[1:]

    def test_srilm_layout(self):
        text = self.write("s.txt", "w1 zzz w2\n\n")
        words = [json.loads(r)["words"] for r in
                 self.score(text, "--level", "word", "--format", "json").splitlines()]
        log10 = [[w["log_prob"] for w in line] for line in words]
        out = self.score(text, "--level", "word", "--format", "srilm").split("\n")
        row = lambda word, context, p: "\tp( %s | %s) \t= [recurrent] %.6g [ %.6g ]" % (word, context, 10**p, p)
        self.assertEqual(out[0], "w1 zzz w2")
        self.assertEqual(out[2], "\tp( zzz | w1 ...) \t= [OOV] 0 [ -inf ]")
        self.assertEqual(out[5], "1 sentences, 3 words, 1 OOVs")
        for found, expected in ((out[1], row("w1", "<s> ", log10[0][0])),
                                (out[3], row("w2", "zzz ...", log10[0][2])),
                                (out[4], row("</s>", "w2 ...", log10[0][3])),
                                (out[9], row("</s>", "<s> ", log10[1][0]))):
            head, tail = expected.split(" [recurrent] ")
            self.assertEqual(found.split(" [recurrent] ")[0], head)
            for a, b in zip(found.split(" [recurrent] ")[1].split(), tail.split()):
                if a not in "[]":
                    self.assertAlmostEqual(float(a), float(b), 4)
        known = log10[0][0] + log10[0][2] + log10[0][3]
        self.check_totals(out[6], known, 3, 2)
        self.assertEqual(out[7], "")
        self.assertEqual(out[8], "")  # the empty line itself
        self.assertEqual(out[10], "1 sentences, 0 words, 0 OOVs")
        self.check_totals(out[11], log10[1][0], 1, 0)
        self.assertEqual(out[12], "")
        self.assertEqual(out[13], "file %s: 2 sentences, 3 words, 1 OOVs" % text)
        self.check_totals(out[14], known + log10[1][0], 4, 2)
        one = self.score(text, "--level", "line", "--format", "srilm").split("\n")
        self.assertEqual(one, out[:1] + out[5:9] + out[10:])

    def check_totals(self, line, log10, tokens, words):
        fields = line.split()
        self.assertEqual(fields[:3], ["0", "zeroprobs,", "logprob="])
        self.assertAlmostEqual(float(fields[3]), log10, 3)
        self.assertEqual(fields[4], "ppl=")
        self.assertAlmostEqual(float(fields[5]), 10 ** (-log10 / tokens), 1)
        self.assertEqual(fields[6], "ppl1=")
        if words:
            self.assertLess(abs(float(fields[7]) / 10 ** (-log10 / words) - 1), 1e-3)
        else:
            self.assertEqual(fields[7], "undefined")


class PtbTest(ProgramTest):
    def test_every_token_of_the_penn_treebank(self):
        folder = os.environ.get("UNROLL_PTB")
        if not folder:
            self.skipTest("UNROLL_PTB does not name the Penn Treebank's folder")
        train = os.path.join(folder, "ptb.train.txt")
        with open(train) as f:
            small = self.write("p/train.txt", "".join(f.readlines()[:300]))
        flags = ["--device", "cpu", "--threads", "1", "--hidden", "8", "--emb", "8", "--layers", "1", "--epochs", "1"]
        code, _, err = run("train", "--train", small, "--valid", small, "--out", self.path("ptb"), *flags)
        self.assertEqual(code, 0, err)
        code, out, err = run("eval", self.path("ptb"), os.path.join(folder, "ptb.test.txt"), "--json")
        self.assertEqual(json.loads(out)["tokens"], 82430, err)


if __name__ == "__main__":
    unittest.main()
