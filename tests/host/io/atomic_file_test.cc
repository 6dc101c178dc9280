// A file is replaced whole or not at all: full disk, size limit, no permission, a forgotten commit.
#include "host/io/atomic_file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "host/io/safetensors.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

// Within its life no file may grow beyond `bytes`: what a full disk looks like to write(2), without
// a disk to fill.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST(AtomicFile, ReplacesTheOldFile) {
  const TempDir dir;
  write_file(dir / "a", "old and longer");
  AtomicFile file(dir / "a");
  file.write("ne");
  EXPECT_EQ(read_file(dir / "a"), "old and longer");
  file.write("w");
  file.commit();
  EXPECT_EQ(read_file(dir / "a"), "new");
  EXPECT_EQ(dir.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TempDir dir;
  write_file(dir / "a", "old");
  { AtomicFile(dir / "a").write("new"); }
  EXPECT_EQ(read_file(dir / "a"), "old");
  EXPECT_EQ(dir.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, WhatAKillLeftIsOverwritten) {
  const TempDir dir;
  {
    // A process that died between writing and renaming.
    AtomicFile file(dir / "a");
    file.write("half");
    std::filesystem::copy_file(dir / "a.tmp", dir / "kept");
  }
  std::filesystem::rename(dir / "kept", dir / "a.tmp");
  write_file(dir / "a", "x");
  EXPECT_EQ(read_file(dir / "a"), "x");
  EXPECT_EQ(dir.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, NoRoomKeepsTheOldFile) {
  const TempDir dir;
  write_file(dir / "a", "old");
  const std::string big(100'000, 'x');
  std::string message;
  {
    const FileSizeLimit limit(50'000);
    message = error_of(ErrorKind::disk, [&] { write_file(dir / "a", big); });
  }
  expect_contains(message, dir / "a" + ": cannot write the new file: File too large");
  expect_contains(message, "the old one is kept");
  expect_contains(message, "ulimit -f");
  EXPECT_EQ(read_file(dir / "a"), "old");
  EXPECT_EQ(dir.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, NoRoomKeepsTheOldModel) {
  const TempDir dir;
  const std::vector<float> small(10, 1.5f), big(100'000, 2.5f);
  write_safetensors(dir / "m", {{"w", "F32", {10}, small.data()}}, {});
  {
    const FileSizeLimit limit(200'000);
    error_of(ErrorKind::disk, [&] {
      write_safetensors(dir / "m", {{"w", "F32", {100'000}, big.data()}}, {});
    });
  }
  EXPECT_EQ(SafetensorsFile::open(dir / "m").read<float>("w"), small);
  EXPECT_EQ(dir.names(), std::vector<std::string>{"m"});
}

TEST(AtomicFile, FolderThatIsMissingOrNotOne) {
  const TempDir dir;
  const std::string message = error_of(ErrorKind::disk, [&] { write_file(dir / "no/a", "x"); });
  expect_contains(message,
                  dir / "no/a" + ": cannot create the new file: No such file or directory");
  expect_contains(message, "create the folder first");
  write_file(dir / "f", "x");
  expect_contains(error_of(ErrorKind::disk, [&] { write_file(dir / "f/a", "x"); }),
                  "Not a directory");
  // The target is a folder: the rename fails, the folder and its content stay.
  std::filesystem::create_directories(dir / "d/inside");
  expect_contains(error_of(ErrorKind::disk, [&] { write_file(dir / "d", "x"); }), "put in place");
  EXPECT_TRUE(std::filesystem::exists(dir / "d/inside"));
  EXPECT_FALSE(std::filesystem::exists(dir / "d.tmp"));
}

TEST(AtomicFile, ReadOnlyFolder) {
  const TempDir dir;
  write_file(dir / "a", "old");
  ::chmod(dir.path().c_str(), 0555);
  // Root may write everywhere, so it becomes nobody for one call.
  const bool root = ::geteuid() == 0;
  ASSERT_EQ(root ? ::seteuid(65534) : 0, 0);
  const std::string message = error_of(ErrorKind::disk, [&] { write_file(dir / "a", "new"); });
  ASSERT_EQ(root ? ::seteuid(0) : 0, 0);
  ::chmod(dir.path().c_str(), 0755);
  expect_contains(message, "Permission denied; the old one is kept; choose a folder that you may");
  EXPECT_EQ(read_file(dir / "a"), "old");
}

TEST(ReadFile, NamesPathAndReason) {
  const TempDir dir;
  EXPECT_EQ(error_of(ErrorKind::usage, [&] { read_file(dir / "none"); }),
            dir / "none" + ": cannot be read: No such file or directory");
  expect_contains(error_of(ErrorKind::usage, [&] { read_file(dir.path()); }), "Is a directory");
}

}  // namespace
}  // namespace unroll
