#include "engine/tensor/memory_plan.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace athanor::tensor {

namespace {

constexpr std::uint64_t kAlignment = 64;  // bytes: a cache line, and the widest vector

std::uint64_t round_up(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Throws for more bytes than can be counted; their sum over a plan's tensors can be, too.
void check_size(const std::string& name, std::size_t element_bytes, std::initializer_list<std::int64_t> shape) {
  constexpr std::int64_t kBytesMax = 1LL << 46;
  auto bytes = static_cast<std::int64_t>(element_bytes);
  bool fits = true;
  for (const std::int64_t size : shape) fits = fits && !__builtin_mul_overflow(bytes, size, &bytes) && bytes <= kBytesMax;
  if (fits) return;
  throw Error(ErrorKind::kExhausted, "Planning the memory for {} ({} numbers of {} bytes): no machine has that much. Give "
              "a smaller batch, length or model", name, fmt::join(shape, " x "), element_bytes);
}

}  // namespace

MemoryPlan::~MemoryPlan() {
  if (arena_) ::munmap(arena_, mapped_bytes_);
}

const Tensor& MemoryPlan::add(const std::string& group, const std::string& name, DType type,
                              std::initializer_list<std::int64_t> shape, Lifetime lifetime) {
  check_size(name, size_of(type), shape);
  const Tensor tensor(type, shape);
  return add({group, name, tensor, lifetime}, tensor.bytes());
}

const Tensor& MemoryPlan::add_rows(const std::string& group, const std::string& name, DType type, std::int64_t rows,
                                   std::int64_t columns, Lifetime lifetime) {
  const std::int64_t line = static_cast<std::int64_t>(kAlignment / size_of(type));
  check_size(name, size_of(type), {rows, columns + 2 * line});
  const std::int64_t lines = (columns + line - 1) / line;
  const Tensor tensor = Tensor::matrix(type, rows, columns, (lines % 2 == 0 ? lines + 1 : lines) * line);
  return add({group, name, tensor, lifetime}, static_cast<std::uint64_t>(rows * tensor.stride(0)) * size_of(type));
}

const Tensor& MemoryPlan::add(Entry entry, std::uint64_t bytes) {
  ATHANOR_ASSERT(!arena_ && entry.lifetime.first <= entry.lifetime.last);
  entry.bytes = round_up(bytes);
  return entries_.emplace_back(std::move(entry)).tensor;
}

std::uint64_t MemoryPlan::least_bytes() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;  // (phase, bytes more or less from there on)
  for (const Entry& entry : entries_) {
    changes.emplace_back(entry.lifetime.first, static_cast<std::int64_t>(entry.bytes));
    changes.emplace_back(std::int64_t{entry.lifetime.last} + 1, -static_cast<std::int64_t>(entry.bytes));
  }
  std::sort(changes.begin(), changes.end());  // what ends in a phase goes before what begins there
  std::int64_t now = 0, most = 0;
  for (const auto& [phase, bytes] : changes) most = std::max(most, now += bytes);
  return static_cast<std::uint64_t>(most);
}

// Largest first, each at the lowest offset where nothing that is needed in the same phases lies already.
void MemoryPlan::place() {
  std::vector<Entry*> order;
  for (Entry& entry : entries_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) { return a->bytes > b->bytes; });
  std::vector<Entry*> placed;  // by offset
  bytes_ = 0;
  for (Entry* entry : order) {
    std::uint64_t offset = 0;
    for (const Entry* other : placed) {
      if (!entry->lifetime.overlaps(other->lifetime)) continue;
      if (offset + entry->bytes <= other->offset) break;
      offset = std::max(offset, other->offset + other->bytes);
    }
    entry->offset = offset;
    bytes_ = std::max(bytes_, offset + entry->bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), entry,
                                   [](const Entry* a, const Entry* b) { return a->offset < b->offset; }),
                  entry);
  }
}

void MemoryPlan::allocate(std::uint64_t limit_bytes, const std::string& advice) {
  ATHANOR_ASSERT(!arena_);
  bytes_ = least_bytes();
  if (bytes_ <= limit_bytes) place();  // which takes long for very many tensors
  if (bytes_ > limit_bytes) {
    throw Error(ErrorKind::kExhausted, "This needs {} of memory and {} are available. {}.\n{}", format_bytes(bytes_),
                format_bytes(limit_bytes), advice, table());
  }
  mapped_bytes_ = std::max<std::uint64_t>(bytes_, kAlignment);
  void* arena = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED) {
    throw Error(ErrorKind::kExhausted, "Allocating {} of memory was refused by the system. {}.\n{}",
                format_bytes(bytes_), advice, table());
  }
  ::madvise(arena, mapped_bytes_, MADV_HUGEPAGE);  // only advice: without huge pages it is slower, not wrong
  arena_ = arena;
  for (Entry& entry : entries_) entry.tensor.set_data(static_cast<char*>(arena_) + entry.offset);
}

std::string MemoryPlan::table() const {
  struct Line {
    std::string group;
    std::uint64_t bytes = 0;
    std::size_t tensors = 0;
  };
  std::vector<Line> lines;
  for (const Entry& entry : entries_) {
    auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.group == entry.group; });
    if (line == lines.end()) line = lines.insert(lines.end(), Line{entry.group});
    line->bytes += entry.bytes;
    ++line->tensors;
  }
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.bytes > b.bytes; });
  std::uint64_t sum = 0;
  std::string text = fmt::format("{:<32}{:>8}{:>14}\n", "memory", "tensors", "size");
  for (const Line& line : lines) {
    text += fmt::format("{:<32}{:>8}{:>14}\n", line.group, line.tensors, format_bytes(line.bytes));
    sum += line.bytes;
  }
  text += fmt::format("{:<32}{:>8}{:>14}\n", "shared between phases", "", "-" + format_bytes(sum - bytes_));
  text += fmt::format("{:<32}{:>8}{:>14}\n", "in all", entries_.size(), format_bytes(bytes_));
  return text;
}

std::string format_bytes(std::uint64_t bytes) {
  const auto size = static_cast<double>(bytes);
  if (bytes >= 1ULL << 30) return fmt::format("{:.2f} GiB", size / (1ULL << 30));
  if (bytes >= 1ULL << 20) return fmt::format("{:.1f} MiB", size / (1ULL << 20));
  if (bytes >= 1ULL << 10) return fmt::format("{:.1f} KiB", size / (1ULL << 10));
  return fmt::format("{} B", bytes);
}

}  // namespace athanor::tensor
