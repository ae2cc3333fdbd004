// How the command line looks: colours, tables, sizes and durations as people write them, and a block of lines that is
// redrawn in place. On anything but a terminal (or with NO_COLOR, or TERM=dumb) it is plain text.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::cli {

enum class Colour { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan };

class Terminal {
 public:
  // `file` outlives this.
  explicit Terminal(std::FILE* file);

  bool is_terminal() const { return is_terminal_; }
  bool has_colours() const { return has_colours_; }
  // Columns, at least 40; 80 when unknown. Asked anew at each call: windows change.
  std::size_t width() const;

  std::string paint(Colour colour, std::string_view text) const;
  // Text of others (a job's lines, its reason, its files' names) as it may be written here: with its controls escaped on a
  // terminal, which would obey them; elsewhere as it is.
  std::string foreign(std::string_view text) const;
  // Writes at once, and goes on whatever comes of it. That whoever reads has gone is no failure (SIGPIPE is ignored); any
  // other error stays with the file: see is_whole.
  void write(std::string_view text) const;
  void line(std::string_view text) const { write(std::string(text) + "\n"); }

 private:
  std::FILE* file_;
  bool obeys_ = false;  // controls, as every terminal does, whatever TERM says
  bool is_terminal_ = false;
  bool has_colours_ = false;
};

// Whether everything written to `file` so far has arrived, or had nobody left to read it. Asked of standard output when a
// command has ended.
bool is_whole(std::FILE* file);

// Rows of cells in aligned columns, two spaces apart. The first row is the heading.
struct Cell {
  std::string text;
  Colour colour = Colour::kPlain;
  bool to_the_right = false;
};
std::string format_table(const Terminal& terminal, const std::vector<std::vector<Cell>>& rows);

// Lines redrawn in place on a terminal. Elsewhere nothing is drawn: say what must be said with Terminal::line.
class LiveBlock {
 public:
  explicit LiveBlock(const Terminal& terminal) : terminal_(terminal) {}
  ~LiveBlock() { keep(); }
  LiveBlock(const LiveBlock&) = delete;
  LiveBlock& operator=(const LiveBlock&) = delete;

  // Replaces what was drawn; lines longer than the window are cut.
  void draw(const std::vector<std::string>& lines);
  // Removes it, so that something else can be written where it stood.
  void erase();
  // Leaves what is drawn and begins a new block below.
  void keep();

 private:
  const Terminal& terminal_;
  std::size_t drawn_ = 0;
};

// A bar of `cells` characters, `fraction` of it full; "━━━━╸─────" or "####------" without colours.
std::string format_bar(const Terminal& terminal, double fraction, std::size_t cells);
// The course of a number in one character a value: "▇▆▅▄▃▂▁"; empty without colours.
std::string format_course(const Terminal& terminal, const std::vector<double>& values, std::size_t cells);

std::string format_bytes(std::uint64_t bytes);      // "512 B", "1.5 MB" (powers of 1000)
std::string format_count(double count);             // "950", "12.3k", "4.56M"
std::string format_duration(std::int64_t seconds);  // "0 s", "42 s", "3 min 05 s", "2 h 04 min", "3 d 02 h"
std::string format_time(double epoch_s);            // local time: "2026-11-24 00:13:28"
std::string format_age(double seconds);             // "now", "42 s ago", "3 min ago", "2 d ago"
// "90", "90s", "15m", "2h", "1d" in seconds; throws kInvalid.
std::int64_t parse_duration(std::string_view text);

// Every control character but tab and newline, and every byte that is not UTF-8, as "\x1b"; everything else as it is.
std::string escape_controls(std::string_view text);

// Columns that a UTF-8 text takes, escape sequences not counted.
std::size_t columns_of(std::string_view text);
// The first `columns` of it, closed with a reset when it was coloured.
std::string cut_to(std::string_view text, std::size_t columns);

}  // namespace athanor::cli
