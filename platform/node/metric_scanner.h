// MetricDefinitions: numbers picked out of the program's output by regular expressions (RE2's: linear time whatever the
// expression). The value is the first group of a match; the last one of each name stands at the end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/node/agent_machine.h"
#include "platform/node/job_spec.h"

namespace athanor::node {

class MetricScanner {
 public:
  // Throws kInvalid, fit for a FailureReason, when an expression is not one.
  explicit MetricScanner(const std::vector<MetricDefinition>& definitions);
  ~MetricScanner();

  void scan(std::string_view line, std::int64_t timestamp_ms);
  // In the order of the definitions; those that never matched are left out.
  std::vector<FinalMetric> latest() const;

 private:
  struct Definition;
  std::vector<std::unique_ptr<Definition>> definitions_;
};

}  // namespace athanor::node
