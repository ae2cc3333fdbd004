#include <cstdlib>

#include "platform/cli/dns.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view query(reinterpret_cast<const char*>(data), size);
  if (const auto question = athanor::cli::read_dns_question(query)) {
    const std::string answer = athanor::cli::make_dns_answer(query, *question, 1, athanor::cli::DnsCode::kNoError);
    if (answer.size() != question->end + 16) abort();
  }
  return 0;
}
