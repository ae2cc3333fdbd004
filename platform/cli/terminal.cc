#include "platform/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "common/error.h"

namespace athanor::cli {
namespace {

constexpr std::size_t kWidthUnknown = 80;
constexpr std::size_t kWidthMin = 40;

const char* code_of(Colour colour) {
  switch (colour) {
    case Colour::kPlain: return "0";
    case Colour::kBold: return "1";
    case Colour::kDim: return "2";
    case Colour::kRed: return "31";
    case Colour::kGreen: return "32";
    case Colour::kYellow: return "33";
    case Colour::kBlue: return "34";
    case Colour::kMagenta: return "35";
    case Colour::kCyan: return "36";
  }
  return "0";
}

// The bytes of the escape sequence or character that starts at `at`, and whether it takes a column.
struct Glyph {
  std::size_t bytes = 1;
  bool visible = true;
};

Glyph glyph_at(std::string_view text, std::size_t at) {
  if (text[at] == '\x1b') {
    const std::size_t end = text.find('m', at);
    return {end == std::string_view::npos ? text.size() - at : end - at + 1, false};
  }
  std::size_t bytes = 1;
  while (at + bytes < text.size() && (text[at + bytes] & 0xc0) == 0x80) ++bytes;
  return {bytes, true};
}

}  // namespace

Terminal::Terminal(std::FILE* file) : file_(file) {
  const char* kind = std::getenv("TERM");
  const char* no_colour = std::getenv("NO_COLOR");
  obeys_ = isatty(fileno(file)) == 1;
  is_terminal_ = obeys_ && kind != nullptr && std::string_view(kind) != "dumb";
  has_colours_ = is_terminal_ && (no_colour == nullptr || *no_colour == '\0');
}

std::size_t Terminal::width() const {
  winsize size{};
  if (!is_terminal_ || ioctl(fileno(file_), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kWidthUnknown;
  return std::max<std::size_t>(size.ws_col, kWidthMin);
}

std::string Terminal::paint(Colour colour, std::string_view text) const {
  if (!has_colours_ || colour == Colour::kPlain) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code_of(colour), text);
}

std::string Terminal::foreign(std::string_view text) const {
  return obeys_ ? escape_controls(text) : std::string(text);
}

void Terminal::write(std::string_view text) const {
  errno = 0;
  const bool had_failed = std::ferror(file_) != 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0;
  if (!written && errno == EPIPE && !had_failed) std::clearerr(file_);
}

bool is_whole(std::FILE* file) {
  errno = 0;
  return std::ferror(file) == 0 && (std::fflush(file) == 0 || errno == EPIPE);
}

std::string format_table(const Terminal& terminal, const std::vector<std::vector<Cell>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(terminal.foreign(row[i].text)));
    }
  }
  std::string table;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      const Cell& cell = rows[r][i];
      const std::string plain = terminal.foreign(cell.text);
      const std::string space(widths[i] - columns_of(plain), ' ');
      const std::string text = terminal.paint(r == 0 ? Colour::kDim : cell.colour, plain);
      if (i > 0) line += "  ";
      const bool last = i + 1 == rows[r].size();
      line += cell.to_the_right ? space + text : last ? text : text + space;
    }
    table += line + "\n";
  }
  return table;
}

void LiveBlock::draw(const std::vector<std::string>& lines) {
  if (!terminal_.is_terminal()) return;
  const std::size_t width = terminal_.width();
  std::string frame = drawn_ > 0 ? fmt::format("\x1b[{}F", drawn_) : "";
  for (const std::string& line : lines) frame += cut_to(line, width) + "\x1b[K\n";
  frame += "\x1b[J";
  terminal_.write(frame);
  drawn_ = lines.size();
}

void LiveBlock::erase() {
  if (drawn_ > 0) terminal_.write(fmt::format("\x1b[{}F\x1b[J", drawn_));
  drawn_ = 0;
}

void LiveBlock::keep() { drawn_ = 0; }

std::string format_bar(const Terminal& terminal, double fraction, std::size_t cells) {
  const double clamped = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const auto halves = static_cast<std::size_t>(std::lround(clamped * static_cast<double>(cells) * 2));
  std::string full, empty;
  if (!terminal.has_colours()) return std::string(halves / 2, '#') + std::string(cells - halves / 2, '-');
  for (std::size_t i = 0; i < halves / 2; ++i) full += "━";
  if (halves % 2 == 1) full += "╸";
  for (std::size_t i = (halves + 1) / 2; i < cells; ++i) empty += "━";
  return terminal.paint(Colour::kGreen, full) + terminal.paint(Colour::kDim, empty);
}

std::string format_course(const Terminal& terminal, const std::vector<double>& values, std::size_t cells) {
  static constexpr std::array<const char*, 8> kLevels = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (!terminal.has_colours() || values.empty() || cells == 0) return {};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double span = std::max(*high - *low, 1e-9);
  std::string course;
  const std::size_t shown = std::min(cells, values.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const double value = values[i * values.size() / shown];
    course += kLevels[static_cast<std::size_t>(std::lround((value - *low) / span * 7))];
  }
  return terminal.paint(Colour::kCyan, course);
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1000; value >= 999.95 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return "?";
  if (count < 1000) return fmt::format("{:.0f}", count);
  if (count < 1e6) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.2f}M", count / 1e6);
}

std::string format_duration(std::int64_t seconds) {
  seconds = std::max<std::int64_t>(seconds, 0);
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{} h {:02} min", seconds / 3600, seconds % 3600 / 60);
  return fmt::format("{} d {:02} h", seconds / 86400, seconds % 86400 / 3600);
}

std::string format_time(double epoch_s) {
  const auto seconds = static_cast<std::time_t>(epoch_s);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%F %T", &parts));
}

std::string format_age(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds);
  if (s < 1) return "now";
  if (s < 60) return fmt::format("{} s ago", s);
  if (s < 3600) return fmt::format("{} min ago", s / 60);
  if (s < 86400) return fmt::format("{} h ago", s / 3600);
  return fmt::format("{} d ago", s / 86400);
}

std::int64_t parse_duration(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const std::int64_t factor = unit.empty() || unit == "s"    ? 1
                              : unit == "m" || unit == "min" ? 60
                              : unit == "h"                  ? 3600
                              : unit == "d"                  ? 86400
                                                             : 0;
  if (error != std::errc() || factor == 0 || value < 0 || value > 1'000'000'000) {
    throw Error(ErrorKind::kInvalid,
                "Reading the duration '{}': write seconds, or a number with s, m, h or d ('90', '15m', '2h').", text);
  }
  return value * factor;
}

std::string escape_controls(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned first = byte(at);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xc2 && first < 0xe0 ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    bool whole = length > 0;
    for (std::size_t i = 1; i < length; ++i) whole = whole && (byte(at + i) & 0xc0) == 0x80;
    const unsigned code = whole && length == 2 ? (first & 0x1f) << 6 | (byte(at + 1) & 0x3f) : first;
    const bool control =
        !whole || (length <= 2 && (code < 0x20 || (code >= 0x7f && code < 0xa0)) && code != '\t' && code != '\n');
    if (control) {
      result += fmt::format("\\x{:02x}", code);
    } else {
      result += text.substr(at, length);
    }
    at += whole ? length : 1;
  }
  return result;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Glyph glyph = glyph_at(text, at);
    columns += glyph.visible;
    at += glyph.bytes;
  }
  return columns;
}

std::string cut_to(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  std::size_t at = 0;
  bool coloured = false;
  for (std::size_t shown = 0; at < text.size();) {
    const Glyph glyph = glyph_at(text, at);
    if (glyph.visible && ++shown > columns) break;
    coloured |= !glyph.visible;
    at += glyph.bytes;
  }
  return std::string(text.substr(0, at)) + (coloured ? "\x1b[0m" : "");
}

}  // namespace athanor::cli
