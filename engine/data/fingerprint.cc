#include "engine/data/fingerprint.h"

#include <algorithm>
#include <cstddef>

#include "common/hash.h"

namespace athanor::data {

namespace {

constexpr std::size_t kPlaceBytes = 64 << 10;
constexpr std::size_t kPlacesMax = 1024;

}  // namespace

std::string fingerprint(std::string_view bytes) {
  const std::size_t places = (bytes.size() + kPlaceBytes - 1) / kPlaceBytes, taken = std::min(places, kPlacesMax);
  Hasher hasher("SHA256");
  for (std::size_t i = 0; i < taken; ++i) {
    const std::size_t place = taken == 1 ? 0 : i * (places - 1) / (taken - 1);  // the first and the last among them
    hasher.update(bytes.substr(place * kPlaceBytes, kPlaceBytes));
  }
  return to_hex(hasher.finish());
}

}  // namespace athanor::data
