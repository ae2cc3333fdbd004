// What went wrong on an instance, as the FailureReason that people read: the service's prefixes, our words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/error.h"

namespace athanor::node {

// At most `count` characters of UTF-8; what is none becomes U+FFFD.
std::string first_characters(std::string_view text, std::size_t count);

// A text that has one of the service's prefixes already is taken as it is.
std::string reason_for_prepare(const Error& error);
std::string reason_for_download(const Error& error);
std::string reason_for_upload(const Error& error);
std::string reason_for_upload(const std::string& text);
std::string reason_for_machine(const std::string& text);
std::string disk_full(const std::string& text);

}  // namespace athanor::node
