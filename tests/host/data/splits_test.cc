// Finding the texts of a folder, and keeping what can be read once.
#include "host/data/splits.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "host/data/corpus.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

TEST(FindSplits, ByNameInAnyCaseWithOrWithoutTest) {
  ScratchFolder folder;
  folder.write("PTB.Train.txt", "");
  folder.write("ptb.dev.gz", "");
  folder.write(".train.swp", "");
  folder.write(std::string("train") + kTokenFileSuffix, "");
  folder.write("README", "");
  std::filesystem::create_directory(folder.path("test"));
  Splits splits = find_splits(folder.path(""));
  EXPECT_EQ(splits.train, folder.path("PTB.Train.txt"));
  EXPECT_EQ(splits.valid, folder.path("ptb.dev.gz"));
  EXPECT_EQ(splits.test, "");
  folder.write("test.tokens", "");
  EXPECT_EQ(find_splits(folder.path("")).test, folder.path("test.tokens"));
}

TEST(FindSplits, TwoMatchesNameBoth) {
  ScratchFolder folder;
  folder.write("train.txt", "");
  folder.write("valid.txt", "");
  folder.write("dev.txt", "");
  const auto message = error_of(ErrorKind::usage, [&] { find_splits(folder.path("")); });
  expect_contains(message, "'dev.txt' and 'valid.txt'");
  expect_contains(message, "--valid");
}

TEST(FindSplits, NoMatchListsWhatIsThere) {
  ScratchFolder folder;
  folder.write("valid.txt", "");
  folder.write("input.txt", "");
  const auto message = error_of(ErrorKind::usage, [&] { find_splits(folder.path("")); });
  expect_contains(message, "'input.txt', 'valid.txt'");
  expect_contains(message, "--train");
  expect_contains(error_of(ErrorKind::usage, [&] { find_splits(folder.path("nowhere")); }),
                  "No such file");
}

TEST(SpoolStandardInput, CopiesPipesAndLeavesFilesAlone) {
  ScratchFolder folder;
  const auto plain = folder.write("plain", "x\n"), pipe = folder.path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string text(300000, 'y');
  std::thread writer([&] { std::ofstream(pipe) << text; });
  const auto paths = spool_standard_input({plain, pipe}, "--train", folder.path("spool"));
  writer.join();
  ASSERT_EQ(paths, (std::vector<std::string>{plain, folder.path("spool.0")}));
  std::ifstream copy(paths[1]);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(copy), {}), text);
}

TEST(SpoolStandardInput, ReportsWhatCannotBeReadOrWritten) {
  ScratchFolder folder;
  expect_contains(error_of(ErrorKind::usage,
                           [&] { spool_standard_input({folder.path("no")}, "--train", "x"); }),
                  "--train");
  const int saved = dup(STDIN_FILENO), file = open("/dev/null", O_RDONLY);
  dup2(file, STDIN_FILENO);
  expect_contains(
      error_of(ErrorKind::disk,
               [&] { spool_standard_input({"-"}, "--train", folder.path("no/spool")); }),
      "no/spool.0");
  dup2(saved, STDIN_FILENO);
  close(saved);
  close(file);
}

}  // namespace
}  // namespace unroll::test
