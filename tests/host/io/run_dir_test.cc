// Run directories: made once, opened to resume, resolved to a model.
#include "host/io/run_dir.h"

#include "host/io/atomic_file.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

TEST(RunDir, CreateOpenResolve) {
  const TempDir dir;
  const RunDir run = RunDir::create(dir / "runs/one/");
  EXPECT_EQ(run.path, dir / "runs/one");
  EXPECT_EQ(run.model(), dir / "runs/one/model.safetensors");
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::open(run.path); }),
                  "has no state.safetensors to resume from; --resume takes");
  expect_contains(error_of(ErrorKind::usage, [&] { resolve_model(run.path); }),
                  "has no model.safetensors; MODEL is a run directory, a .safetensors file or an");
  RunDir::create(run.path);  // an empty folder may be used

  write_file(run.state(), "");
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::create(run.path); }),
                  "already holds a run; continue it with --resume " + run.path);
  EXPECT_EQ(RunDir::open(run.path + "/").state(), run.state());
  expect_contains(error_of(ErrorKind::usage, [&] { resolve_model(run.path); }),
                  "written after the first validation");

  write_file(run.model(), "");
  EXPECT_EQ(resolve_model(run.path + "/"), run.model());
  EXPECT_EQ(resolve_model(run.model()), run.model());
  std::filesystem::remove(run.state());
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::open(run.path); }),
                  "its weights alone: --init-from " + run.model());

  std::filesystem::remove(run.model());
  write_file(run.ngram(), "");
  EXPECT_EQ(resolve_model(run.path), run.ngram());
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::create(run.path); }),
                  "already holds a run");
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::open(run.path); }), "trained in one go");
}

TEST(RunDir, IsLockedByOneAtATime) {
  const TempDir dir;
  const RunDir run = RunDir::create(dir / "run");
  {
    const RunLock lock(run);
    expect_contains(error_of(ErrorKind::usage, [&] { RunLock second(run); }),
                    run.path + ": another process trains in it");
  }
  RunLock after(run);
}

TEST(RunDir, PathsThatAreNotThere) {
  const TempDir dir;
  expect_contains(error_of(ErrorKind::usage, [&] { resolve_model(dir / "none"); }),
                  dir / "none" + ": cannot be opened: No such file or directory; MODEL is");
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::open(dir / "none"); }), "No such file");
  write_file(dir / "f", "");
  expect_contains(error_of(ErrorKind::usage, [&] { RunDir::open(dir / "f"); }), "is not a folder");
  expect_contains(error_of(ErrorKind::disk, [&] { RunDir::create(dir / "f/run"); }),
                  "cannot be made: Not a directory");
}

}  // namespace
}  // namespace unroll
