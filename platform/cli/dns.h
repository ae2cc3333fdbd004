// Just enough of DNS (RFC 1035) to stand between a program and its resolver: read the question of a query, answer it
// with an IPv4 address or with nothing. Pure functions over bytes; hostile input is refused, never trusted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::cli {

inline constexpr std::uint16_t kDnsTypeA = 1;
inline constexpr std::uint16_t kDnsTypeAny = 255;

enum class DnsCode : std::uint8_t { kNoError = 0, kServerFailure = 2 };

struct DnsQuestion {
  std::string name;  // lower case, dotted, without the last dot
  std::uint16_t type = 0;
  std::size_t end = 0;  // of the question section within the query
};

// The one question of a standard query; nothing when it is not one.
std::optional<DnsQuestion> read_dns_question(std::string_view query);

// An answer to `query`, whose question is given: one A record when `ipv4` (host order) is there, else no record.
std::string make_dns_answer(std::string_view query, const DnsQuestion& question, std::optional<std::uint32_t> ipv4,
                            DnsCode code);

}  // namespace athanor::cli
