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
  for (const std::int64_t size : shape) {
    fits = fits && !__builtin_mul_overflow(bytes, size, &bytes) && bytes <= kBytesMax;
  }
  if (fits) return;
  throw Error(ErrorKind::kExhausted,
              "Planning the memory for {} ({} numbers of {} bytes): no machine has that much. Give "
              "a smaller batch, length or model",
              name, fmt::join(shape, " x "), element_bytes);
}

}  // namespace

MemoryPlan::~MemoryPlan() {
  if (arena_) ::munmap(arena_, mapped_bytes_);
}

const Tensor& MemoryPlan::add(const std::string& group, const std::string& name, DType type,
                              std::initializer_list<std::int64_t> shape, Lifetime lifetime) {
  check_size(name, size_of(type), shape);
  const Tensor tensor(type, shape);
  return add({group, name, tensor}, tensor.bytes(), lifetime);
}

const Tensor& MemoryPlan::add_rows(const std::string& group, const std::string& name, DType type, std::int64_t rows,
                                   std::int64_t columns, Lifetime lifetime) {
  const std::int64_t line = static_cast<std::int64_t>(kAlignment / size_of(type));
  check_size(name, size_of(type), {rows, columns + 2 * line});
  const std::int64_t lines = (columns + line - 1) / line;
  const Tensor tensor = Tensor::matrix(type, rows, columns, (lines % 2 == 0 ? lines + 1 : lines) * line);
  return add({group, name, tensor}, static_cast<std::uint64_t>(rows * tensor.stride(0)) * size_of(type), lifetime);
}

const Tensor& MemoryPlan::add(Entry entry, std::uint64_t bytes, Lifetime lifetime) {
  ATHANOR_ASSERT(!arena_ && lifetime.first <= lifetime.last);
  entry.bytes = round_up(bytes);
  if (entry.extents.empty()) entry.extents.push_back({0, entry.bytes, lifetime});
  return entries_.emplace_back(std::move(entry)).tensor;
}

const Tensor& MemoryPlan::add_parts(const std::string& group, const std::string& name, DType type,
                                    std::span<const LivingPart> parts) {
  std::int64_t count = 0;
  std::vector<Extent> extents;
  for (const LivingPart& part : parts) {
    ATHANOR_ASSERT(part.count >= 0 && part.lifetime.first <= part.lifetime.last);
    const std::uint64_t begin = static_cast<std::uint64_t>(count) * size_of(type) / kAlignment * kAlignment;
    check_size(name, size_of(type), {count += part.count});
    const std::uint64_t end = round_up(static_cast<std::uint64_t>(count) * size_of(type));
    if (part.count > 0) extents.push_back({begin, end - begin, part.lifetime});
  }
  ATHANOR_ASSERT(!extents.empty());
  const Tensor tensor(type, {count});
  return add({group, name, tensor, std::move(extents)}, tensor.bytes(), Lifetime::always());
}

std::uint64_t MemoryPlan::least_bytes() const {
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;  // (phase, bytes more or less from there on)
  const auto change = [&](std::int64_t first, std::int64_t last, std::int64_t bytes) {
    if (first > last) return;
    changes.emplace_back(first, bytes);
    changes.emplace_back(last + 1, -bytes);
  };
  for (const Entry& entry : entries_) {
    for (const auto& [offset, bytes, life] : entry.extents) {
      change(life.first, life.last, static_cast<std::int64_t>(bytes));
      change(life.gap_first, life.gap_last, -static_cast<std::int64_t>(bytes));
    }
  }
  std::sort(changes.begin(), changes.end());  // what ends in a phase goes before what begins there
  std::int64_t now = 0, most = 0;
  for (const auto& [phase, bytes] : changes) most = std::max(most, now += bytes);
  return static_cast<std::uint64_t>(most);
}

// Each at the lowest offset where nothing that is needed in the same phases lies already.
std::uint64_t MemoryPlan::place(const std::vector<Entry*>& order) {
  std::vector<Extent> placed;  // by offset, in the arena
  std::uint64_t end = 0;
  for (Entry* entry : order) {
    // Moves up until it meets nothing; with one extent that is one pass.
    std::uint64_t start = 0;
    for (std::uint64_t before = 1; before != start;) {
      before = start;
      for (const Extent& own : entry->extents) {
        for (const Extent& other : placed) {
          if (start + own.offset + own.bytes <= other.offset) break;
          if (other.offset + other.bytes <= start + own.offset || !own.lifetime.overlaps(other.lifetime)) continue;
          start = other.offset + other.bytes - own.offset;
        }
      }
      if (entry->extents.size() == 1) break;
    }
    entry->offset = start;
    end = std::max(end, start + entry->bytes);
    for (Extent own : entry->extents) {
      own.offset += start;
      const auto after = std::ranges::upper_bound(placed, own.offset, {}, &Extent::offset);
      placed.insert(after, own);
    }
  }
  return end;
}

// The largest first, as is usual; or what is needed longest first and of that the largest, which finds a place for the
// activations of the first layers in the gradients of those before them while there is one. The better of the two.
void MemoryPlan::place() {
  std::vector<Entry*> by_size;
  for (Entry& entry : entries_) by_size.push_back(&entry);
  std::ranges::stable_sort(by_size, std::ranges::greater(), &Entry::bytes);
  std::vector<Entry*> by_end = by_size;
  std::ranges::stable_sort(by_end, std::ranges::greater(), [](const Entry* entry) {
    return std::ranges::max(entry->extents, {}, [](const Extent& e) { return e.lifetime.last; }).lifetime.last;
  });
  bytes_ = place(by_size);
  const std::uint64_t other = place(by_end);
  bytes_ = other <= bytes_ ? other : place(by_size);
}

std::uint64_t MemoryPlan::placed_bytes() {
  place();
  return bytes_;
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

void MemoryPlan::take_pages(Context& context) {
  ATHANOR_ASSERT(arena_);
  constexpr std::int64_t kPage = 4096;  // the smallest there is: larger ones are touched more than once
  constexpr std::int64_t kGrain = 1024;
  context.parallel((static_cast<std::int64_t>(mapped_bytes_) + kPage - 1) / kPage, kGrain,
                   [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t page = begin; page < end; ++page) {
                       volatile char* byte = static_cast<char*>(arena_) + page * kPage;
                       *byte = *byte;
                     }
                   });
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
