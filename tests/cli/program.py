"""What the tests of the program share: running it, small texts, reading safetensors."""

import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.get("UNROLL_PROGRAM", "unroll")
TIMEOUT = 300

# A model that trains in a blink.
TINY = ["--device", "cpu", "--threads", "1", "--hidden", "9", "--emb", "7", "--layers", "1",
        "--batch", "4", "--bptt", "6", "--epochs", "1", "--lr", "0.01"]


def start(*args, **kwargs):
    """The program, started; text on its pipes."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen([PROGRAM, *map(str, args)], **kwargs)


def run(*args, stdin=b"", **kwargs):
    """The program, run to its end: (exit code, stdout, stderr)."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    process = start(*args, stdin=subprocess.PIPE, **kwargs)
    out, err = process.communicate(stdin, timeout=TIMEOUT)
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def sentences(count, seed, words=23):
    """Lines of a small language: a word decides, nearly, which two may follow."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        word, line = rng.randrange(words), []
        for _ in range(rng.randrange(3, 11)):
            line.append("w%d" % word)
            word = (3 * word + rng.choice((1, 2))) % words
        lines.append(" ".join(line))
    return "\n".join(lines) + "\n"


def read_safetensors(path):
    """({name: (dtype, shape, bytes)}, metadata)."""
    with open(path, "rb") as f:
        data = f.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    body = data[8 + size:]
    tensors = {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for name, t in header.items()}
    return tensors, metadata


def write_safetensors(path, tensors, metadata=None):
    """The file that safetensors.torch.save_file writes; tensors as read_safetensors gives them."""
    header, body = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


class ProgramTest(unittest.TestCase):
    """A test in a folder of its own, with a small corpus in it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="unroll-cli-")
        cls.data = cls.write("data/train.txt", sentences(120, 1))
        cls.data = os.path.dirname(cls.data)
        cls.write("data/valid.txt", sentences(25, 2))
        cls.write("data/test.txt", sentences(25, 3))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def write(cls, name, content):
        path = cls.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return path

    @classmethod
    def train(cls, out, *args, **kwargs):
        """Trains a tiny model to its end; (path, stdout, stderr)."""
        path = cls.path(out)
        code, stdout, stderr = run("train", "--data", cls.data, "--out", path, *TINY, *args, **kwargs)
        if code != 0:
            raise AssertionError("train ended with %d: %s" % (code, stderr))
        return path, stdout, stderr

    def assert_fails(self, expected_code, words, *args, **kwargs):
        """The program ends with this exit code and one message that holds all these words."""
        code, out, err = run(*args, **kwargs)
        self.assertEqual(code, expected_code, err)
        message = err.strip().splitlines()[-1] if err.strip() else ""
        for word in words:
            self.assertIn(word, message)
        self.assertTrue(message.startswith("unroll: "), message)
        return out, err
