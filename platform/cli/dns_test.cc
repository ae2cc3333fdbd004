#include "platform/cli/dns.h"

#include <gtest/gtest.h>

namespace athanor::cli {
namespace {

using namespace std::string_literals;

// A query for `name` (in wire form) of one type, class IN, recursion desired.
std::string query_for(const std::string& wire_name, char type) {
  return "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"s + wire_name + "\x00"s + "\x00"s + type + "\x00\x01"s;
}

TEST(DnsTest, ReadsTheQuestionInLowerCase) {
  const auto question =
      read_dns_question(query_for("\x03STS\x09us-east-1\x09"
                                  "amazonAWS\x03"
                                  "com",
                                  1));
  ASSERT_TRUE(question);
  EXPECT_EQ(question->name, "sts.us-east-1.amazonaws.com");
  EXPECT_EQ(question->type, kDnsTypeA);
}

TEST(DnsTest, AnswersWithOneAddress) {
  const std::string query = query_for(
      "\x01"
      "a",
      1);
  const std::string answer = make_dns_answer(query, *read_dns_question(query), 0xc6120001, DnsCode::kNoError);
  EXPECT_EQ(answer, "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"s +
                        "\x01"
                        "a\x00\x00\x01\x00\x01"s +
                        "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc6\x12\x00\x01"s);
}

TEST(DnsTest, AnswersWithNothing) {
  const std::string query = query_for(
      "\x01"
      "a",
      28);
  const std::string answer = make_dns_answer(query, *read_dns_question(query), {}, DnsCode::kServerFailure);
  EXPECT_EQ(answer.substr(2, 6), "\x81\x82\x00\x01\x00\x00"s);
  EXPECT_EQ(answer.size(), query.size());
}

TEST(DnsTest, RefusesWhatIsNoQuestion) {
  const std::string good = query_for(
      "\x03"
      "abc",
      1);
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(read_dns_question(std::string_view(good).substr(0, length))) << length;
  }
  std::string response = good;
  response[2] = '\x81';
  EXPECT_FALSE(read_dns_question(response));
  std::string pointer = query_for("\xc0\x0c", 1);
  EXPECT_FALSE(read_dns_question(pointer));
  std::string endless;
  for (int i = 0; i < 10; ++i) endless += "\x3f" + std::string(63, 'x');
  EXPECT_FALSE(read_dns_question(query_for(endless, 1)));
}

}  // namespace
}  // namespace athanor::cli
