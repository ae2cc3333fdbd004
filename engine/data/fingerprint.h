// Tells the contents of one file from those of another of the same size: a SHA-256, in hex. Beyond 64 MiB it is that of a
// thousand places, so that a start costs the same whatever the size.
#pragma once

#include <string>
#include <string_view>

namespace athanor::data {

std::string fingerprint(std::string_view bytes);

}  // namespace athanor::data
