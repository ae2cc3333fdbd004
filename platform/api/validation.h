// One validator for every request of a service: it reads a table of shapes (names, types, bounds, patterns, enums; made
// by tools/derive-request-shapes) and answers in the service's own words.
//
// Members that the table does not know are ignored, as the service ignores them. What we know but do not honour yet is
// the front's business (platform/api/sagemaker).
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"

namespace athanor::api {

// A value of a type that the shape cannot hold: the service's SerializationException, with its text.
class SerializationError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Immutable once made: any thread.
class Shapes {
 public:
  // Parses a table and compiles its patterns. Throws kInvalid when the table is wrong (a pattern that RE2 cannot do,
  // a shape that is not there), naming the shape.
  explicit Shapes(std::string_view table);
  ~Shapes();

  // Whether the table knows the operation.
  bool has(std::string_view operation) const;

  // The constraints that `request` breaks, in the order of the shapes' members; empty when it is fine. At most
  // `kViolationsMax` are reported. Throws SerializationError.
  std::vector<std::string> violations(std::string_view operation, const json::value& request) const;

  static constexpr std::size_t kViolationsMax = 100;

 private:
  struct Shape;
  struct Check;
  struct Table;
  std::unique_ptr<const Table> table_;
};

// "2 validation errors detected: A; B".
std::string violations_text(const std::vector<std::string>& violations);

// The committed tables of requests: SageMaker's and CloudWatch Logs'.
std::string_view sagemaker_shapes();
std::string_view logs_shapes();

}  // namespace athanor::api
