#include "platform/node/reasons.h"

#include <initializer_list>

#include "platform/node/output_lines.h"

namespace athanor::node {

namespace {

bool has_prefix(const std::string& text) {
  for (const char* prefix : {"AlgorithmError: ", "ClientError: ", "InternalServerError: ", "CapacityError: "}) {
    if (text.starts_with(prefix)) return true;
  }
  return false;
}

std::string with(const std::string& prefix, const std::string& text) { return has_prefix(text) ? text : prefix + text; }

// Whether the user can put it right.
bool is_the_users(ErrorKind kind) {
  return kind == ErrorKind::kInvalid || kind == ErrorKind::kNotFound || kind == ErrorKind::kDenied ||
         kind == ErrorKind::kConflict;
}

}  // namespace

std::string first_characters(std::string_view text, std::size_t count) {
  std::string result = to_utf8(text);
  std::size_t characters = 0;
  for (std::size_t at = 0; at < result.size(); ++at) {
    const bool starts = (static_cast<unsigned char>(result[at]) & 0xC0) != 0x80;
    if (starts && characters++ == count) {
      result.resize(at);
      break;
    }
  }
  return result;
}

std::string reason_for_machine(const std::string& text) { return with("InternalServerError: ", text); }

std::string disk_full(const std::string& text) {
  return with("ClientError: ", "The instance's disk is full. Please use a larger volume, or write less: " + text);
}

std::string reason_for_prepare(const Error& error) {
  if (error.kind() == ErrorKind::kExhausted && !has_prefix(error.what())) return disk_full(error.what());
  return reason_for_machine(error.what());
}

std::string reason_for_download(const Error& error) {
  if (error.kind() == ErrorKind::kExhausted && !has_prefix(error.what())) return disk_full(error.what());
  return with(is_the_users(error.kind()) ? "ClientError: Data download failed: " : "InternalServerError: ",
              error.what());
}

std::string reason_for_upload(const Error& error) {
  return with(is_the_users(error.kind()) ? "ClientError: Artifact upload failed: " : "InternalServerError: ",
              error.what());
}

std::string reason_for_upload(const std::string& text) { return with("ClientError: Artifact upload failed: ", text); }

}  // namespace athanor::node
