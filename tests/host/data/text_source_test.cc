// Reading text: line ends, bytes that are not text, gzip, standard input, long lines.
#include "host/data/text_source.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include "host/data/utf8.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

std::vector<std::string> lines_of(TextSource& source) {
  std::vector<std::string> lines;
  std::string line;
  while (source.next_line(line)) lines.push_back(line);
  return lines;
}

std::string write_gzip(const ScratchFolder& folder, const std::string& name,
                       const std::string& text) {
  const gzFile file = gzopen(folder.path(name).c_str(), "wb");
  EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  gzclose(file);
  return folder.path(name);
}

// Runs f with standard input reading from a file.
template <class F>
void with_stdin(const std::string& path, F&& f) {
  const int saved = dup(STDIN_FILENO), file = open(path.c_str(), O_RDONLY);
  dup2(file, STDIN_FILENO);
  f();
  dup2(saved, STDIN_FILENO);
  close(saved);
  close(file);
}

TEST(TextSource, LinesOfSeveralFilesWithAndWithoutFinalNewline) {
  ScratchFolder folder;
  const auto a = folder.write("a", "one\n\n two \n"), b = folder.write("b", "three\nfour"),
             c = folder.write("c", ""), d = folder.write("d", "\n");
  TextSource source({a, b, c, d}, "--train");
  EXPECT_EQ(lines_of(source), (std::vector<std::string>{"one", "", " two ", "three", "four", ""}));
  EXPECT_EQ(source.notes().lines, 6u);
  EXPECT_EQ(source.notes().bytes, 11u + 10u + 0u + 1u);
  EXPECT_EQ(source.notes().missing_final_newlines, 1u);
}

TEST(TextSource, PlaceNamesFileAndLine) {
  ScratchFolder folder;
  TextSource source({folder.write("a", "1\n2\n"), folder.write("b", "3\n4\n")}, "--train");
  std::string line;
  for (const char* expected : {"a:1", "a:2", "b:1", "b:2"}) {
    ASSERT_TRUE(source.next_line(line));
    EXPECT_EQ(source.place(), folder.path(expected));
  }
}

TEST(TextSource, UnusualBytesAreCountedAndHandled) {
  ScratchFolder folder;
  const std::string text(
      "\xef\xbb\xbf"
      "a\tb\r\nc\0d\r\ne\rf \xff\xc3\n\xe2\x82\xac\n",
      24);
  TextSource source({folder.write("x", text)}, "--train");
  EXPECT_EQ(lines_of(source),
            (std::vector<std::string>{"a\tb", "c d", "e f \xff\xc3", "\xe2\x82\xac"}));
  const TextNotes& notes = source.notes();
  EXPECT_EQ(notes.byte_order_marks, 1u);
  EXPECT_EQ(notes.carriage_returns, 3u);
  EXPECT_EQ(notes.nul_bytes, 1u);
  EXPECT_EQ(notes.tabs, 1u);
  EXPECT_EQ(notes.invalid_utf8, 2u);
  EXPECT_EQ(notes.first_invalid_offset, text.find('\xff'));
  EXPECT_EQ(notes.first_invalid_file, folder.path("x"));
  const auto warnings = describe_notes(notes, "train");
  ASSERT_EQ(warnings.size(), 5u);
  expect_contains(warnings[0], "train: 3 carriage returns");
  expect_contains(warnings[4], "train: 2 bytes that are not valid UTF-8");
  expect_contains(warnings[4], "byte 17 of");
  EXPECT_TRUE(describe_notes(TextNotes{}, "train").empty());
}

TEST(TextSource, GzipEqualsPlain) {
  ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "line " + std::to_string(i * 7919) + "\n";
  TextSource plain({folder.write("x", text)}, "--train");
  TextSource packed({write_gzip(folder, "any-name", text)}, "--train");
  EXPECT_EQ(lines_of(plain), lines_of(packed));
  EXPECT_EQ(packed.notes().bytes, text.size());
}

TEST(TextSource, DamagedGzipIsADataErrorThatNamesTheFile) {
  ScratchFolder folder;
  std::string noise;
  for (uint32_t i = 1, x = 1; i < 100000; ++i)
    noise += std::to_string(x = x * 1664525u + 1013904223u) + "\n";
  const auto path = write_gzip(folder, "x.gz", noise);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  const auto message = error_of(ErrorKind::data, [&] {
    TextSource source({path}, "--valid");
    lines_of(source);
  });
  expect_contains(message, path);
  expect_contains(message, "--valid");
  expect_contains(message, "gzip");
}

TEST(TextSource, MissingFilesNamePathReasonAndFlag) {
  ScratchFolder folder;
  const auto good = folder.write("a", "x\n"), missing = folder.path("nowhere.txt");
  const auto message = error_of(ErrorKind::usage, [&] {
    TextSource source({good, missing}, "--train");
  });
  expect_contains(message, missing);
  expect_contains(message, "--train");
  expect_contains(message, "No such file");
  expect_contains(
      error_of(ErrorKind::usage, [&] { TextSource source({folder.path("")}, "--test"); }),
      "Is a directory");
}

TEST(TextSource, StandardInput) {
  ScratchFolder folder;
  with_stdin(folder.write("x", "a b\nc"), [&] {
    TextSource source({"-"}, "FILE");
    std::string line;
    ASSERT_TRUE(source.next_line(line));
    EXPECT_EQ(source.place(), "standard input:1");
    ASSERT_TRUE(source.next_line(line));
    EXPECT_EQ(line, "c");
    EXPECT_FALSE(source.next_line(line));
  });
}

TEST(TextSource, LongLinesArriveInPiecesCutAfterWhiteSpace) {
  ScratchFolder folder;
  std::string words;
  for (int i = 0; words.size() < (size_t{9} << 20); ++i) words += std::to_string(i) + " ";
  const std::string solid(size_t{3} << 20, 'x');  // no place to cut
  for (const std::string& end : {std::string("\nz\n"), std::string()}) {
    TextSource source({folder.write("x", solid + " " + words + end)}, "--train");
    std::string_view piece;
    std::string joined;
    int pieces = 0;
    do {
      ASSERT_TRUE(source.next(piece));
      joined += piece;
      ++pieces;
      if (!source.line_ended()) {
        EXPECT_EQ(piece.back(), ' ');
      }
      EXPECT_EQ(source.place(), folder.path("x:1"));
    } while (!source.line_ended());
    EXPECT_EQ(joined, solid + " " + words);
    EXPECT_GE(pieces, 3);
    EXPECT_EQ(source.notes().lines, 1u);
    EXPECT_EQ(source.next(piece), !end.empty());
  }
}

TEST(Utf8, LengthOfValidAndInvalidSequences) {
  EXPECT_EQ(utf8_length("a\xff"), 1u);
  EXPECT_EQ(utf8_length("\xc3\xa9"), 2u);
  EXPECT_EQ(utf8_length("\xe2\x82\xac"), 3u);
  EXPECT_EQ(utf8_length("\xf0\x9f\x98\x80!"), 4u);
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3(", "\xff"}) {
    EXPECT_EQ(utf8_length(bad), 0u) << bad;
  }
}

}  // namespace
}  // namespace unroll::test
