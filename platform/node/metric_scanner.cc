#include "platform/node/metric_scanner.h"

#include <re2/re2.h>

#include <cmath>
#include <cstdlib>
#include <optional>

#include "common/error.h"

namespace athanor::node {

struct MetricScanner::Definition {
  std::string name;
  RE2 expression;
  std::optional<FinalMetric> latest;
};

MetricScanner::MetricScanner(const std::vector<MetricDefinition>& definitions) {
  for (const MetricDefinition& definition : definitions) {
    RE2::Options options;
    options.set_log_errors(false);
    auto made = std::unique_ptr<Definition>(new Definition{definition.name, RE2(definition.regex, options), {}});
    if (!made->expression.ok()) {
      throw Error(ErrorKind::kInvalid, "ClientError: The Regex of the metric definition \"{}\" is not valid: {}",
                  definition.name, made->expression.error());
    }
    definitions_.push_back(std::move(made));
  }
}

MetricScanner::~MetricScanner() = default;

void MetricScanner::scan(std::string_view line, std::int64_t timestamp_ms) {
  for (const auto& definition : definitions_) {
    const int group = definition->expression.NumberOfCapturingGroups() > 0 ? 1 : 0;
    const re2::StringPiece text(line.data(), line.size());
    re2::StringPiece found[2];
    if (!definition->expression.Match(text, 0, line.size(), RE2::UNANCHORED, found, group + 1)) continue;
    const std::string number(found[group].data() == nullptr ? "" : found[group].as_string());
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    // Words that are not numbers are no metrics, and JSON knows neither infinities nor NaN.
    if (number.empty() || end != number.c_str() + number.size() || !std::isfinite(value)) continue;
    definition->latest = FinalMetric{definition->name, value, timestamp_ms};
  }
}

std::vector<FinalMetric> MetricScanner::latest() const {
  std::vector<FinalMetric> metrics;
  for (const auto& definition : definitions_) {
    if (definition->latest) metrics.push_back(*definition->latest);
  }
  return metrics;
}

}  // namespace athanor::node
