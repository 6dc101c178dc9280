"""Ctrl-C and SIGTERM: the state is saved, the way on is printed, the second signal ends at once."""

import os
import signal
import time
import unittest

from program import TIMEOUT, ProgramTest, read_safetensors, run, start

# Steps so slow that a signal falls into one.
ENDLESS = ["--device", "cpu", "--threads", "1", "--hidden", "300", "--batch", "4", "--bptt", "100", "--epochs", "1000000",
           "--log-every", "1", "--save-every", "1h"]


class InterruptTest(ProgramTest):
    def endless(self, name):
        process = start("train", "--data", self.data, "--out", self.path(name), *ENDLESS)
        log, until = self.path(name + "/log.jsonl"), time.monotonic() + TIMEOUT
        while (not os.path.exists(log) or os.path.getsize(log) == 0) and time.monotonic() < until:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
        return process

    def test_saves_and_says_how_to_go_on(self):
        for kill, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(kill=kill):
                name = "stop%d" % kill
                process = self.endless(name)
                process.send_signal(kill)
                out, err = process.communicate(timeout=TIMEOUT)
                err = err.decode()
                self.assertEqual(process.returncode, code, err)
                self.assertEqual(out, b"")  # no results yet
                self.assertIn("state saved", err)
                self.assertIn("unroll train --resume " + self.path(name), err)
                _, values = read_safetensors(self.path(name + "/state.safetensors"))
                step = int(values["value.step"])
                self.assertGreater(step, 0)
                code2, _, err = run("train", "--resume", self.path(name), "--max-steps", step + 1)
                self.assertEqual(code2, 0, err)

    def test_a_run_directory_has_one_process(self):
        process = self.endless("busy")
        self.assert_fails(2, [self.path("busy"), "another process"], "train", "--resume", self.path("busy"))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=TIMEOUT)
        code, _, err = run("train", "--resume", self.path("busy"), "--max-steps", "1")
        self.assertEqual(code, 0, err)

    def test_the_second_signal_ends_at_once(self):
        process = self.endless("twice")
        process.send_signal(signal.SIGSTOP)  # so that both are pending when it goes on
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=TIMEOUT)
        self.assertIn(process.returncode, (130, 143))
        _, values = read_safetensors(self.path("twice/state.safetensors"))
        self.assertEqual(values["value.step"], "0")  # the one from the start


if __name__ == "__main__":
    unittest.main()
