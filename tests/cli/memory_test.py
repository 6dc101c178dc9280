"""The estimate printed before the first step is what a training process then takes."""

import os
import random
import re
import unittest

from program import ProgramTest, start

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def mapped_bytes(run_dir):
    return sum(os.path.getsize(os.path.join(run_dir, n)) for n in os.listdir(run_dir) if n.endswith("tokens"))


class MemoryTest(ProgramTest):
    def check(self, name, *flags):
        process = start("train", "--data", self.big, "--out", self.path(name), "--device", "cpu", "--threads", "2",
                        "--max-steps", "4", "--epochs", "1", *flags)
        with process.stdout, process.stderr:
            err = (process.stdout.read() and process.stderr.read()).decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        self.assertEqual(status, 0, err)
        number, unit = re.search(r"memory +([0-9.]+) (\w+)", err).groups()
        estimate = float(number) * UNITS[unit]
        peak = usage.ru_maxrss * 1024 - mapped_bytes(self.path(name))
        print("%s: estimate %.1f MiB, peak %.1f MiB" % (name, estimate / 2**20, peak / 2**20))
        self.assertLess(abs(estimate / peak - 1), 0.10,
                        "%s: estimate %.1f MiB, peak %.1f MiB\n%s" % (name, estimate / 2**20, peak / 2**20, err))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = random.Random(7)
        words = ["word%d" % i for i in range(10000)]
        for split, lines in (("train", 3000), ("valid", 40)):
            text = "".join(" ".join(rng.choices(words, k=20)) + "\n" for _ in range(lines))
            if split == "train":  # every word once, in lines as long as the others
                text += "".join(" ".join(words[i:i + 20]) + "\n" for i in range(0, len(words), 20))
            cls.write("big/%s.txt" % split, text)
        cls.big = cls.path("big")

    def test_zaremba(self):
        self.check("small", "--recipe", "zaremba-small")
        self.check("medium", "--recipe", "zaremba-medium", "--max-steps", "2")

    def test_doubles_and_characters(self):
        self.check("f64", "--precision", "fp64")
        self.check("characters", "--unit", "char", "--batch", "64", "--bptt", "100", "--hidden", "512", "--max-steps",
                   "2")

    def test_adam_dropout_and_sentences(self):
        self.check("sentences", "--hidden", "256", "--emb", "128", "--batching", "sentence", "--dropout", "0.3",
                   "--cell", "gru", "--tied")


if __name__ == "__main__":
    unittest.main()
