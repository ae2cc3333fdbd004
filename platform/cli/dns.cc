#include "platform/cli/dns.h"

namespace athanor::cli {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kLabelBytesMax = 63;
constexpr std::uint16_t kClassIn = 1;
constexpr std::uint32_t kTimeToLive_s = 60;

std::uint16_t read16(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

void append16(std::string& to, std::uint16_t value) {
  to += static_cast<char>(value >> 8);
  to += static_cast<char>(value & 0xff);
}

void append32(std::string& to, std::uint32_t value) {
  append16(to, static_cast<std::uint16_t>(value >> 16));
  append16(to, static_cast<std::uint16_t>(value & 0xffff));
}

}  // namespace

std::optional<DnsQuestion> read_dns_question(std::string_view query) {
  if (query.size() < kHeaderBytes) return {};
  const std::uint16_t flags = read16(query, 2);
  const bool is_standard_query = (flags & 0xf800) == 0;  // QR and OPCODE are zero
  if (!is_standard_query || read16(query, 4) != 1) return {};

  DnsQuestion question;
  std::size_t at = kHeaderBytes;
  while (at < query.size() && query[at] != 0) {
    const auto length = static_cast<unsigned char>(query[at]);
    if (length > kLabelBytesMax || at + 1 + length > query.size()) return {};  // pointers have no place in a question
    if (!question.name.empty()) question.name += '.';
    for (const char c : query.substr(at + 1, length)) {
      question.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    if (question.name.size() > kNameBytesMax) return {};
    at += 1 + length;
  }
  if (at + 5 > query.size()) return {};
  question.type = read16(query, at + 1);
  if (read16(query, at + 3) != kClassIn) return {};
  question.end = at + 5;
  return question;
}

std::string make_dns_answer(std::string_view query, const DnsQuestion& question, std::optional<std::uint32_t> ipv4,
                            DnsCode code) {
  std::string answer(query.substr(0, 2));
  const auto recursion_desired = static_cast<std::uint16_t>(read16(query, 2) & 0x0100);
  append16(answer, static_cast<std::uint16_t>(0x8080 | recursion_desired | static_cast<std::uint16_t>(code)));
  append16(answer, 1);             // questions
  append16(answer, ipv4 ? 1 : 0);  // answers
  append16(answer, 0);             // authorities
  append16(answer, 0);             // additional
  answer += query.substr(kHeaderBytes, question.end - kHeaderBytes);
  if (ipv4) {
    append16(answer, 0xc000 | kHeaderBytes);  // the name, by a pointer to the question's
    append16(answer, kDnsTypeA);
    append16(answer, kClassIn);
    append32(answer, kTimeToLive_s);
    append16(answer, 4);
    append32(answer, *ipv4);
  }
  return answer;
}

}  // namespace athanor::cli
