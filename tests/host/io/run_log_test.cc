// log.jsonl: what is appended comes back, and a resume cuts it at a step.
#include "host/io/run_log.h"

#include <cmath>

#include "host/io/atomic_file.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

LogRecord train_line(int64_t step, double loss) {
  return LogRecord().add("kind", "train").add("step", step).add("loss", loss);
}

TEST(RunLog, AppendsAndReadsExactly) {
  const TempDir dir;
  {
    RunLog log(dir / "log.jsonl");
    log.append(LogRecord().add("kind", "start").add("text", "a\"b\n\xc3\xa9").add("eager", true));
    log.append(train_line(int64_t(1) << 53, 0.1));
    log.append(train_line(7, NAN));
    log.sync();
  }
  { RunLog(dir / "log.jsonl").append(train_line(8, 1e-300).add("bad", "\xff")); }
  const std::string text = read_file(dir / "log.jsonl");
  EXPECT_EQ(text,
            "{\"kind\":\"start\",\"text\":\"a\\\"b\\n\xc3\xa9\",\"eager\":true}\n"
            "{\"kind\":\"train\",\"step\":9007199254740992,\"loss\":0.1}\n"
            "{\"kind\":\"train\",\"step\":7,\"loss\":null}\n"
            "{\"kind\":\"train\",\"step\":8,\"loss\":1e-300,\"bad\":\"\xef\xbf\xbd\"}\n");
  const std::vector<LogRecord> lines = RunLog::read(dir / "log.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].text("text"), "a\"b\n\xc3\xa9");
  EXPECT_EQ(lines[0].text("none"), "");
  EXPECT_EQ(std::get<int64_t>(*lines[1].find("step")), int64_t(1) << 53);
  EXPECT_EQ(lines[1].number("loss"), 0.1);
  EXPECT_TRUE(std::isnan(lines[2].number("loss")));
  EXPECT_EQ(lines[2].find("loss"), nullptr);
  EXPECT_EQ(lines[3].json(),
            "{\"kind\":\"train\",\"step\":8,\"loss\":1e-300,\"bad\":\"\xef\xbf\xbd\"}");
}

TEST(RunLog, CutAtTheStepOfTheState) {
  const TempDir dir;
  const std::string path = dir / "log.jsonl";
  const std::string kept =
      "{\"kind\":\"start\"}\n{\"step\":5,  "
      "\"kind\":\"train\"}\n{\"step\":10}\n{\"kind\":\"valid\",\"step\":10}\n";
  write_file(path, kept + "{\"step\":11}\n{\"kind\":\"start\"}\n{\"step\":12}\n");
  RunLog::truncate_to_step(path, 10);
  EXPECT_EQ(read_file(path), kept);  // kept lines are not rewritten
  RunLog::truncate_to_step(path, 10);
  EXPECT_EQ(read_file(path), kept);
  RunLog::truncate_to_step(path, 4);
  EXPECT_EQ(read_file(path), "{\"kind\":\"start\"}\n");
  RunLog::truncate_to_step(dir / "none", 4);
  EXPECT_FALSE(std::filesystem::exists(dir / "none"));
}

TEST(RunLog, TornLastLineIsDropped) {
  const TempDir dir;
  const std::string path = dir / "log.jsonl";
  const std::string good = "{\"step\":1}\n";
  for (const std::string torn : {"{\"st", "{\"step\":2}", "{\"step\n", "\0\0\n"}) {
    write_file(path, good + torn);
    EXPECT_EQ(RunLog::read(path).size(), 1u) << torn;
    RunLog::truncate_to_step(path, 100);
    EXPECT_EQ(read_file(path), good) << torn;
  }
}

TEST(RunLog, BadLineInTheMiddleIsNamed) {
  const TempDir dir;
  const std::string path = dir / "log.jsonl";
  write_file(path, "{\"step\":1}\n[2]\n{\"step\":3}\n");
  expect_contains(error_of(ErrorKind::data, [&] { RunLog::read(path); }),
                  path + ":2: not a JSON object: [2]");
  error_of(ErrorKind::data, [&] { RunLog::truncate_to_step(path, 1); });
}

TEST(RunLog, FullDiskIsNamed) {
  RunLog log("/dev/full");
  expect_contains(error_of(ErrorKind::disk, [&] { log.append(train_line(1, 1)); }),
                  "/dev/full: cannot be written: No space left on device");
  const TempDir dir;
  expect_contains(error_of(ErrorKind::disk, [&] { RunLog(dir / "no/log.jsonl"); }),
                  "cannot be opened for appending: No such file");
}

}  // namespace
}  // namespace unroll
