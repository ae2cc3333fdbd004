#include "common/json.h"

#include <gtest/gtest.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

#include "common/error.h"

namespace athanor::json {
namespace {

double exact(const std::string& text) {
  double number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string shortest(double number) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

std::string shortest_scientific(double number) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof text, number, std::chars_format::scientific).ptr};
}

double any_double(std::mt19937_64& random) {
  for (;;) {
    const auto number = std::bit_cast<double>(random());
    if (std::isfinite(number)) return number;
  }
}

// Whole doubles are written without a point or an exponent, and are read as whole numbers.
double number_of(const value& from) { return from.to_number<double>(); }

TEST(Json, ReadsTheNearestDouble) {
  for (const char* text :
       {"0.1", "1e-6", "9007199254740993.0", "123456789012345678901234567890", "2.2250738585072011e-308", "4.9e-324",
        "1.7976931348623157e308", "0.500000000000000166533453693773481063544750213623046875", "6.0221407599999999e23",
        "-1.0000000000000002", "179769313486231570814e288"}) {
    EXPECT_EQ(number_of(parse(text, "text")), exact(text)) << text;
    const value inside = parse(std::string("{\"a\": [1, ") + text + ", 2]}", "text");
    EXPECT_EQ(number_of(inside.at("a").at(1)), exact(text)) << text;
  }
}

TEST(Json, ReadsWhatAnyDoubleIsWrittenAs) {
  std::mt19937_64 random(1);
  int wrong_in_boost = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double number = i % 2 == 0
                              ? any_double(random)
                              : std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 80) - 100);
    for (const std::string& text : {shortest(number), serialize(value(number))}) {
      ASSERT_EQ(number_of(parse(text, "text")), number) << text;
      wrong_in_boost += number_of(boost::json::parse(text)) != number;
    }
    ASSERT_EQ(exact(serialize(value(number))), number);
  }
  EXPECT_GT(wrong_in_boost, 0) << "Boost reads doubles exactly now: parse() needs no handler of its own";
}

TEST(Json, WritesNoMoreDigitsThanAreNeeded) {
  std::mt19937_64 random(2);
  const auto digits = [](const std::string& text) {
    const std::string mantissa = text.substr(0, text.find_first_of("eE"));
    std::string found;
    for (const char c : mantissa) {
      if (c >= '0' && c <= '9' && (c != '0' || !found.empty())) found += c;
    }
    return found.substr(0, found.find_last_not_of('0') + 1).size();
  };
  for (int i = 0; i < 10'000; ++i) {
    const double number = any_double(random);
    ASSERT_EQ(digits(serialize(value(number))), digits(shortest_scientific(number))) << shortest(number);
  }
}

TEST(Json, OutOfADoublesRangeIsInfiniteOrZero) {
  EXPECT_EQ(number_of(parse("1e400", "text")), std::numeric_limits<double>::infinity());
  EXPECT_EQ(number_of(parse("-1e400", "text")), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(number_of(parse("1e-400", "text")), 0);
}

TEST(Json, ReadsEverythingElseAsBoostDoes) {
  for (const char* text :
       {R"({"a": [1, -2, 18446744073709551615, true, false, null, "x\u00e9\n\ud83d\ude00"], "": {}, "b": {"c": []}})",
        "\"\"", " [ ] ", "9223372036854775807", "-9223372036854775808", "-0", "{\"a\": 1, \"a\": 2}"}) {
    EXPECT_EQ(parse(text, "text"), boost::json::parse(text)) << text;
  }
  const std::string numbers = "[-0.0, 1.0, 1.5e2]";
  EXPECT_TRUE(std::signbit(parse(numbers, "text").at(0).as_double()));
  EXPECT_TRUE(parse(numbers, "text").at(1).is_double());
}

TEST(Json, RefusesWhatIsNone) {
  const auto refused = [](const std::string& text) {
    try {
      parse(text, "FILE");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refused("{} x"), "reading FILE: not JSON: extra data");
  EXPECT_EQ(refused(""), "reading FILE: not JSON: incomplete JSON");
  EXPECT_EQ(refused("[1, 2"), "reading FILE: not JSON: incomplete JSON");
  EXPECT_EQ(refused("1.5e"), "reading FILE: not JSON: incomplete JSON");
  EXPECT_EQ(refused("[1,]"), "reading FILE: not JSON: syntax error");
  EXPECT_EQ(refused("nul"), "reading FILE: not JSON: incomplete JSON");
  EXPECT_EQ(refused(std::string(32, '[') + std::string(32, ']')), "accepted");
  EXPECT_EQ(refused(std::string(33, '[') + std::string(33, ']')), "reading FILE: not JSON: too deep");
}

}  // namespace
}  // namespace athanor::json
