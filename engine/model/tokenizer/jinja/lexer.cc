#include "engine/model/tokenizer/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "common/error.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model::jinja {

namespace {

bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

constexpr std::array<std::string_view, 29> kOperators{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*",
                                                      "%",  "~",  "[",  "]",  "(",  ")",  "{", "}", ">", "<",
                                                      "=",  ".",  ":",  "|",  ",",  ";",  "!", "&", "^"};

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    // As Python reads text: every line end is "\n", and the last one is not the template's.
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r') {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      } else {
        source_ += source[i];
      }
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) data();
    push(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kInvalid, "The chat template is no Jinja, line {}: {}", line_, why);
  }
  void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
  }

  // Text up to the next tag, and the tag.
  void data() {
    std::size_t open = at_;
    for (;; ++open) {
      open = source_.find('{', open);
      if (open == std::string::npos || open + 1 == source_.size()) {
        text(source_.size());
        return advance(source_.size() - at_);
      }
      if (const char kind = source_[open + 1]; kind == '%' || kind == '{' || kind == '#') break;
    }
    const char kind = source_[open + 1];
    const char mark = open + 2 < source_.size() ? source_[open + 2] : ' ';
    std::size_t end = open;
    if (mark == '-') {
      while (end > at_ && space(source_[end - 1])) --end;
    } else if (mark != '+' && kind != '{') {
      // White space alone between the start of the line and a block goes (lstrip_blocks).
      std::size_t begin = open;
      while (begin > at_ && space(source_[begin - 1]) && source_[begin - 1] != '\n') --begin;
      if ((begin > at_ && source_[begin - 1] == '\n') || (begin == at_ && line_began_)) end = begin;
    }
    text(end);
    advance(open - at_ + 2);
    if (kind == '#') return comment();
    if (mark == '-' || mark == '+') advance(1);
    if (kind == '%' && raw()) return;
    push(kind == '%' ? Token::Kind::kBlockBegin : Token::Kind::kPrintBegin, source_.substr(open, 2));
    inside(kind == '%' ? "%}" : "}}", kind == '%');
  }

  void text(std::size_t end) {
    if (end > at_) push(Token::Kind::kData, source_.substr(at_, end - at_));
    line_began_ = false;
  }

  // What follows the end of a tag that is written with `mark` before it.
  void after_tag(char mark, bool block) {
    line_began_ = false;
    if (mark == '-') {
      std::size_t end = at_;
      while (end < source_.size() && space(source_[end])) ++end;
      line_began_ = end > at_ && source_[end - 1] == '\n';
      advance(end - at_);
    } else if (block && mark != '+' && rest().starts_with('\n')) {
      advance(1);
      line_began_ = true;
    }
  }

  void comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) refuse("a comment ({#) has no end (#})");
    const char mark = end > at_ ? source_[end - 1] : ' ';
    advance(end + 2 - at_);
    after_tag(mark, true);
  }

  // {% raw %} … {% endraw %}
  bool raw() {
    std::size_t i = at_;
    const auto skip = [&] {
      while (i < source_.size() && space(source_[i])) ++i;
    };
    const auto word = [&](std::string_view expected) {
      skip();
      if (source_.compare(i, expected.size(), expected) != 0) return false;
      i += expected.size();
      skip();
      return true;
    };
    const auto close = [&](char& mark) {
      mark = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i++] : ' ';
      if (source_.compare(i, 2, "%}") != 0) return false;
      i += 2;
      return true;
    };
    char mark;
    if (!word("raw") || !close(mark)) return false;
    advance(i - at_);
    after_tag(mark, true);
    for (std::size_t from = at_;;) {
      const std::size_t open = source_.find("{%", from);
      if (open == std::string::npos) refuse("{% raw %} has no {% endraw %}");
      i = open + 2;
      const char before = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i++] : ' ';
      if (!word("endraw") || !close(mark)) {
        from = open + 2;
        continue;
      }
      std::size_t end = open;
      if (before == '-') {
        while (end > at_ && space(source_[end - 1])) --end;
      }
      text(end);
      advance(i - at_);
      after_tag(mark, true);
      return true;
    }
  }

  void inside(std::string_view close, bool block) {
    std::vector<char> open;
    for (;;) {
      while (at_ < source_.size() && space(source_[at_])) advance(1);
      if (at_ >= source_.size()) refuse(fmt::format("a tag has no end ({})", close));
      const bool marked = rest()[0] == '-' || (rest()[0] == '+' && block);
      if (open.empty() && (rest().starts_with(close) || (marked && rest().substr(1).starts_with(close)))) {
        const char mark = marked ? rest()[0] : ' ';
        push(block ? Token::Kind::kBlockEnd : Token::Kind::kPrintEnd, std::string(close));
        advance(close.size() + (marked ? 1 : 0));
        return after_tag(mark, block);
      }
      token(open);
    }
  }

  void token(std::vector<char>& open) {
    const char c = rest()[0];
    if (name_start(c)) {
      std::size_t size = 1;
      while (size < rest().size() && (name_start(rest()[size]) || digit(rest()[size]))) ++size;
      push(Token::Kind::kName, std::string(rest().substr(0, size)));
      return advance(size);
    }
    if (digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    for (const std::string_view op : kOperators) {
      if (!rest().starts_with(op)) continue;
      if (op == "(" || op == "[" || op == "{") open.push_back(c);
      if (op == ")" || op == "]" || op == "}") {
        const char expected = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (open.empty() || open.back() != expected) refuse(fmt::format("'{}' closes nothing", c));
        open.pop_back();
      }
      push(Token::Kind::kOperator, std::string(op));
      return advance(op.size());
    }
    refuse(fmt::format("there is a '{}' where an expression was expected", c));
  }

  void number() {
    std::size_t size = 0;
    std::string value;
    const auto digits = [&] {
      while (size < rest().size() &&
             (digit(rest()[size]) || (rest()[size] == '_' && size + 1 < rest().size() && digit(rest()[size + 1])))) {
        if (rest()[size] != '_') value += rest()[size];
        ++size;
      }
    };
    digits();
    bool real = false;
    if (size + 1 < rest().size() && rest()[size] == '.' && digit(rest()[size + 1])) {
      real = true;
      value += '.';
      ++size;
      digits();
    }
    if (size < rest().size() && (rest()[size] == 'e' || rest()[size] == 'E')) {
      std::size_t sign = size + 1;
      if (sign < rest().size() && (rest()[sign] == '+' || rest()[sign] == '-')) ++sign;
      if (sign < rest().size() && digit(rest()[sign])) {
        real = true;
        value += rest().substr(size, sign - size);
        size = sign;
        digits();
      }
    }
    if (value.size() > 18 && !real) refuse(fmt::format("the number {} is too large", value));
    push(real ? Token::Kind::kReal : Token::Kind::kInteger, value);
    advance(size);
  }

  void string(char quote) {
    std::string value;
    std::size_t i = 1;
    for (; i < rest().size() && rest()[i] != quote; ++i) {
      if (rest()[i] != '\\' || i + 1 == rest().size()) {
        value += rest()[i];
        continue;
      }
      const char c = rest()[++i];
      static constexpr std::string_view kNames = "ntrabfv\\'\"";
      static constexpr std::string_view kValues = "\n\t\r\a\b\f\v\\'\"";
      if (const auto known = kNames.find(c); known != std::string_view::npos) {
        value += kValues[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        i += hex(rest().substr(i + 1), c == 'x' ? 2 : c == 'u' ? 4 : 8, value);
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        std::size_t count = 0;
        for (; count < 3 && i + count < rest().size() && rest()[i + count] >= '0' && rest()[i + count] <= '7';
             ++count) {
          code = code * 8 + static_cast<char32_t>(rest()[i + count] - '0');
        }
        utf8_append(code, value);
        i += count - 1;
      } else if (c != '\n') {  // a line end after a backslash is no part of the text
        value += '\\';
        value += c;
      }
    }
    if (i >= rest().size()) refuse(fmt::format("a text that begins with {} has no end", quote));
    push(Token::Kind::kString, value);
    advance(i + 1);
  }

  // Of "\x41" and the like; the digits that it took.
  std::size_t hex(std::string_view digits, std::size_t count, std::string& into) const {
    char32_t code = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const char c = i < digits.size() ? digits[i] : ' ';
      const int value = digit(c)               ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (value < 0) refuse(fmt::format("an escape needs {} hexadecimal digits", count));
      code = code * 16 + static_cast<char32_t>(value);
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      refuse(fmt::format("there is no character U+{:04X}", static_cast<std::uint32_t>(code)));
    }
    utf8_append(code, into);
    return count;
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_began_ = true;  // nothing of the current line was text so far
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) { return Lexer(source).run(); }

}  // namespace athanor::model::jinja
