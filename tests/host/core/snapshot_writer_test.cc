// Files written behind the training: what they get, in which order, and who hears of a failure.
#include "host/train/snapshot_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>

#include "kernels/base/error.h"

namespace unroll::test {
namespace {

using Kind = SnapshotWriter::Kind;

// Holds writes up until it is opened.
class Gate {
 public:
  void wait() const {
    while (!open_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void open() { open_ = true; }

 private:
  std::atomic<bool> open_ = false;
};

TEST(SnapshotWriterTest, WritesWhatTheBlocksHeldAndInOrder) {
  const Backend backend(Device::cpu(1));
  std::string written;
  Gate gate;
  {
    SnapshotWriter writer(backend);
    std::string text = "one", more = "two";
    const auto keep = [&](const std::vector<const void*>& copies) {
      gate.wait();
      for (const void* copy : copies) written += std::string(static_cast<const char*>(copy), 3);
      written += ";";
    };
    writer.submit(Kind::model, {{text.data(), 3}, {more.data(), 3}}, keep);
    text = "xxx";  // training goes on
    writer.submit(Kind::state, {{text.data(), 3}}, keep);
    text = "yyy";
    EXPECT_EQ(written, "");
    gate.open();
    writer.finish();
    EXPECT_EQ(written, "onetwo;xxx;");
    writer.submit(Kind::model, {{text.data(), 3}}, keep);
  }
  EXPECT_EQ(written, "onetwo;xxx;yyy;");  // the writer's end waits for it
}

TEST(SnapshotWriterTest, ASecondSnapshotOfAKindWaitsForTheFirst) {
  const Backend backend(Device::cpu(1));
  SnapshotWriter writer(backend);
  std::atomic<int> written = 0;
  char byte = 0;
  for (int i = 0; i < 50; ++i) {
    byte = char(i);
    writer.submit(Kind::state, {{&byte, 1}}, [&, i](const std::vector<const void*>& copies) {
      EXPECT_EQ(*static_cast<const char*>(copies[0]), char(i));
      ++written;
    });
  }
  writer.finish();
  EXPECT_EQ(written, 50);
}

TEST(SnapshotWriterTest, AFailureIsThrownOnceByTheNextCall) {
  const Backend backend(Device::cpu(1));
  SnapshotWriter writer(backend);
  const auto fail = [](const std::vector<const void*>&) {
    throw Error(ErrorKind::disk, "the disk is full");
  };
  const char byte = 0;
  writer.submit(Kind::state, {{&byte, 1}}, fail);
  try {
    writer.finish();
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::disk);
  }
  writer.check();
  writer.submit(Kind::state, {{&byte, 1}}, fail);
  EXPECT_THROW(writer.submit(Kind::state, {{&byte, 1}}, fail), Error);
  writer.finish();
}

TEST(SnapshotWriterTest, ASnapshotThatFindsNoMemoryLeavesTheNextItsTurn) {
  const Backend backend(Device::cpu(1));
  SnapshotWriter writer(backend);
  const char byte = 'a';
  std::atomic<int> written = 0;
  const auto count = [&](const std::vector<const void*>&) { ++written; };
  EXPECT_THROW(writer.submit(Kind::state, {{&byte, size_t{1} << 60}}, count), Error);
  writer.submit(Kind::state, {{&byte, 1}}, count);
  writer.finish();
  EXPECT_EQ(written, 1);
}

}  // namespace
}  // namespace unroll::test
