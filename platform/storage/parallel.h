// The same work for many items, on a few threads of its own.
#pragma once

#include <cstddef>
#include <functional>

namespace athanor::storage {

// Calls work(0) … work(count - 1), at most `at_once` at a time, and returns when all are done. After one throws no
// further item is begun, and the first exception is thrown on.
void for_each_in_parallel(std::size_t count, std::size_t at_once, const std::function<void(std::size_t)>& work);

}  // namespace athanor::storage
