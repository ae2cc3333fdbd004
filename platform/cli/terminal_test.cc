#include "platform/cli/terminal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "common/error.h"

namespace athanor::cli {
namespace {

TEST(TerminalTest, AFileGetsPlainText) {
  std::FILE* file = std::tmpfile();
  const Terminal terminal(file);
  EXPECT_EQ(terminal.paint(Colour::kRed, "x"), "x");
  EXPECT_EQ(format_bar(terminal, 0.5, 10), "#####-----");
  EXPECT_EQ(format_course(terminal, {1, 2}, 10), "");
  LiveBlock block(terminal);
  block.draw({"nothing"});
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

TEST(TerminalTest, WhatCouldNotBeWrittenIsRemembered) {
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  EXPECT_TRUE(is_whole(full));
  Terminal(full).line("lost");
  EXPECT_FALSE(is_whole(full));
  std::fclose(full);
}

TEST(TerminalTest, AReaderThatHasGoneIsNoFailure) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  std::FILE* file = fdopen(ends[1], "w");
  Terminal(file).line("unheard");
  EXPECT_TRUE(is_whole(file));
  std::fclose(file);
}

TEST(TerminalTest, TablesAlignByColumnsNotBytes) {
  std::FILE* file = std::tmpfile();
  const Terminal terminal(file);
  EXPECT_EQ(format_table(terminal, {{{"NAME"}, {"SIZE", Colour::kPlain, true}, {"END"}},
                                    {{"é"}, {"1234567", Colour::kPlain, true}, {"x"}}}),
            "NAME     SIZE  END\n"
            "é     1234567  x\n");
  std::fclose(file);
}

TEST(TerminalTest, SizesAndTimesAsPeopleWriteThem) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(999'999), "1.0 MB");
  EXPECT_EQ(format_bytes(2'000'000'000), "2.0 GB");
  EXPECT_EQ(format_count(5312), "5.3k");
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(185), "3 min 05 s");
  EXPECT_EQ(format_duration(7440), "2 h 04 min");
  EXPECT_EQ(format_age(0.2), "now");
  EXPECT_EQ(format_age(200), "3 min ago");
}

TEST(TerminalTest, ReadsDurations) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("15m"), 900);
  EXPECT_EQ(parse_duration("2h"), 7200);
  for (const char* wrong : {"", "m", "-1", "5 minutes", "1.5h", "99999999999d"}) {
    EXPECT_THROW(parse_duration(wrong), Error) << wrong;
  }
}

TEST(TerminalTest, CutsWithoutBreakingCharactersOrColours) {
  EXPECT_EQ(cut_to("abc", 3), "abc");
  EXPECT_EQ(cut_to("ééé", 2), "éé");
  EXPECT_EQ(cut_to("\x1b[31mabcdef\x1b[0m", 2), "\x1b[31mab\x1b[0m");
}

TEST(TerminalTest, ControlsOfOthersAreShownAndNotObeyed) {
  EXPECT_EQ(escape_controls("plain\ttext\n"), "plain\ttext\n");
  EXPECT_EQ(escape_controls("\x1b[2J\x1b]0;title\x07 50%\r"), "\\x1b[2J\\x1b]0;title\\x07 50%\\x0d");
  EXPECT_EQ(escape_controls(std::string_view("a\0b\x7f", 4)), "a\\x00b\\x7f");
  EXPECT_EQ(escape_controls("naïve – 日本 🙂"), "naïve – 日本 🙂");
  EXPECT_EQ(escape_controls("\xc2\x9b"
                            "2J\xc2\xa0"),
            "\\x9b2J\xc2\xa0")
      << "CSI is one character too";
  EXPECT_EQ(escape_controls("\x9b"
                            "2J caf\xe9 \xe2\x80"),
            "\\x9b2J caf\\xe9 \\xe2\\x80");
}

}  // namespace
}  // namespace athanor::cli
