// From the options of `athanor submit` to a CreateTrainingJob request. Pure: what must be uploaded first is handed back.
#pragma once

#include <string>
#include <vector>

#include "common/json.h"
#include "platform/cli/commands.h"

namespace athanor::cli {

// A local file or folder that must be at `s3_uri` (a prefix) before the job is created.
struct LocalInput {
  std::string path;
  std::string s3_uri;
};

struct BuiltRequest {
  json::object request;
  std::vector<LocalInput> uploads;
};

// Where defaults come from.
struct RequestDefaults {
  std::string role_arn;
  std::string bucket;
  // Unique, so that generated names are, and the places of uploads: a job of the same name, running or gone, keeps the
  // input that it was given. "20261124-001328-3f2a"
  std::string name_suffix;
};

// `base` is the request of --request, or empty; `hyperparameters` the object of --hyperparameters, or empty; options are
// laid over both. Throws kInvalid naming the option.
BuiltRequest build_request(json::object base, const json::object& hyperparameters, const SubmitOptions& options,
                           const RequestDefaults& defaults);

}  // namespace athanor::cli
