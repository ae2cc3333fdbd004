#include "engine/comm/communicator.h"

#include <algorithm>
#include <cstring>

#include "engine/comm/rendezvous.h"

namespace athanor::comm {

namespace {

constexpr std::size_t kStagingBytes = 256 << 10;
constexpr std::size_t kSendBytesMax = 1 << 20;  // one send(2): keeps both directions moving
constexpr int kWorldSizeMax = 4096;
constexpr std::uint64_t kHeaderMagic = 0x31524448'41485441;

enum Kind : std::uint32_t { kAllReduceFloat32 = 1, kBroadcast = 2, kBarrier = 3 };

CommOptions validated(CommOptions options) {
  if (options.world_size < 1 || options.world_size > kWorldSizeMax) {
    throw Error(ErrorKind::kInvalid, "the number of ranks must be 1 to {}, not {}", kWorldSizeMax, options.world_size);
  }
  if (options.rank < 0 || options.rank >= options.world_size) {
    throw Error(ErrorKind::kInvalid, "rank {} does not exist among {} ranks: they count from 0", options.rank,
                options.world_size);
  }
  if (options.connect_timeout_ms <= 0) options.connect_timeout_ms = CommOptions().connect_timeout_ms;
  if (options.timeout_ms <= 0) options.timeout_ms = CommOptions().timeout_ms;
  return options;
}

// Segment `index` of `count` elements cut into `parts`: sizes differ by one at most, any may be empty.
struct Segment {
  std::size_t begin;
  std::size_t end;
};
Segment segment(std::size_t count, int parts, int index) {
  const auto n = static_cast<std::size_t>(parts);
  const auto i = static_cast<std::size_t>(index);
  const std::size_t base = count / n;
  const std::size_t longer = count % n;
  return {i * base + std::min(i, longer), (i + 1) * base + std::min(i + 1, longer)};
}

void add_into(float* sum, const char* bytes, std::size_t count) {
  const float* received = reinterpret_cast<const float*>(bytes);
  for (std::size_t i = 0; i < count; ++i) sum[i] += received[i];
}

}  // namespace

// Goes ahead of every collective round the ring, so that ranks that disagree notice before they mix their data.
struct Communicator::Header {
  std::uint64_t magic = kHeaderMagic;
  std::uint64_t sequence = 0;
  std::uint32_t kind = 0;
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
  std::uint64_t argument = 0;
};

Communicator::Communicator(CommOptions options) : options_(validated(std::move(options))) {
  if (options_.world_size == 1) return;
  staging_ = std::make_unique_for_overwrite<char[]>(kStagingBytes);
  Ring ring = meet(options_);
  next_ = std::move(ring.next);
  previous_ = std::move(ring.previous);
}

Communicator::~Communicator() = default;

template <typename Operation>
void Communicator::guarded(Operation operation) {
  if (!failure_.empty()) throw Error(ErrorKind::kUnavailable, "{}", failure_);
  if (options_.world_size == 1) return;
  try {
    operation();
  } catch (const Error& error) {
    failure_ = error.what();
    // Closing tells both neighbours now, and through them everybody, instead of at their time-outs.
    next_.socket.close();
    previous_.socket.close();
    throw;
  }
}

Communicator::Header Communicator::make_header(std::uint32_t kind, std::uint64_t size, std::uint64_t argument) {
  Header header;
  header.sequence = ++sequence_;
  header.kind = kind;
  header.size = size;
  header.argument = argument;
  return header;
}

void Communicator::exchange_headers(const Header& mine) {
  const Deadline deadline = Deadline::after_ms(options_.timeout_ms);
  send_all(next_, &mine, sizeof mine, deadline);
  Header theirs;
  receive_all(previous_, &theirs, sizeof theirs, deadline);
  if (std::memcmp(&mine, &theirs, sizeof mine) == 0) return;
  if (theirs.magic != kHeaderMagic) {
    throw Error(ErrorKind::kCorrupt, "{} sent bytes that are no collective", previous_.name);
  }
  const auto describe = [](const Header& header) {
    const char* kinds[] = {"nothing known", "all-reduce", "broadcast", "barrier"};
    return fmt::format("{} of size {} (argument {}) as number {}", kinds[header.kind <= kBarrier ? header.kind : 0],
                       header.size, header.argument, header.sequence);
  };
  throw Error(ErrorKind::kCorrupt,
              "the ranks called different collectives: rank {} {}, {} {}. All ranks must run the same program with the "
              "same settings on the same data",
              options_.rank, describe(mine), previous_.name, describe(theirs));
}

void Communicator::all_reduce_sum(std::span<float> buffer) {
  guarded([&] {
    exchange_headers(make_header(kAllReduceFloat32, buffer.size(), 0));
    if (buffer.empty()) return;

    // Step k of 2(N-1): segment (rank - k) goes out and segment (rank - k - 1) comes in, which is what goes out in step
    // k + 1. So the two directions are one stream each, and the outgoing one may run up to what came in, one step
    // behind: no step waits for a whole segment. In the first N-1 steps what comes in is added (element by element in
    // the order of the ring from the segment's owner on: fixed), then it is the finished sum and is copied.
    // A segment is never overwritten before it was sent: the finished sum of a segment needs our own contribution.
    const int world = options_.world_size;
    const int steps = 2 * (world - 1);
    char* const base = reinterpret_cast<char*>(buffer.data());
    const auto bytes_of = [&](int step) {
      const Segment s = segment(buffer.size(), world, ((options_.rank - step) % world + world) % world);
      return Segment{s.begin * sizeof(float), s.end * sizeof(float)};
    };

    int out_step = 0, in_step = 0;          // in_step: the incoming segment is bytes_of(in_step + 1)
    std::size_t out_done = 0, in_done = 0;  // bytes of the current segments
    std::size_t staged = 0;                 // bytes of staging_ that wait for the rest of their float
    Deadline deadline = Deadline::after_ms(options_.timeout_ms);
    for (;;) {
      bool moved = false;
      bool may_send = false;
      if (out_step < steps) {
        const Segment out = bytes_of(out_step);
        const std::size_t size = out.end - out.begin;
        std::size_t available = size;  // step 0 sends what is here; later steps what came in the step before
        if (out_step > in_step) available = in_done - in_done % sizeof(float);
        if (out_step > in_step + 1) available = 0;
        if (out_step == 0) available = size;
        if (available > out_done) {
          may_send = true;
          const std::size_t sent =
              send_some(next_, base + out.begin + out_done, std::min(available - out_done, kSendBytesMax));
          out_done += sent;
          moved = sent > 0;
        }
        if (out_done == size && (out_step == 0 || out_step <= in_step)) {
          ++out_step;
          out_done = 0;
          moved = true;
        }
      }
      if (in_step < steps) {
        const Segment in = bytes_of(in_step + 1);
        const std::size_t size = in.end - in.begin;
        if (in_step < world - 1) {
          const std::size_t wanted = std::min(kStagingBytes, size - in_done) - staged;
          const std::size_t received = wanted == 0 ? 0 : receive_some(previous_, staging_.get() + staged, wanted);
          staged += received;
          const std::size_t whole = staged - staged % sizeof(float);
          add_into(reinterpret_cast<float*>(base + in.begin + in_done), staging_.get(), whole / sizeof(float));
          std::memmove(staging_.get(), staging_.get() + whole, staged - whole);
          in_done += whole;
          staged -= whole;
          moved = moved || received > 0;
        } else if (in_done < size) {
          const std::size_t received = receive_some(previous_, base + in.begin + in_done, size - in_done);
          in_done += received;
          moved = moved || received > 0;
        }
        if (in_done == size) {
          ++in_step;
          in_done = 0;
          moved = true;
        }
      }
      if (out_step == steps && in_step == steps) return;
      if (moved) {
        deadline = Deadline::after_ms(options_.timeout_ms);
        continue;
      }
      const Peer* to_receive = in_step < steps ? &previous_ : nullptr;
      if (!wait_ready(may_send ? &next_ : nullptr, to_receive, deadline)) {
        throw Error(ErrorKind::kUnavailable,
                    "an all-reduce of {} numbers stood still for {} s: {} is there but does not go on; look at its "
                    "output",
                    buffer.size(), options_.timeout_ms / 1000, may_send ? next_.name : previous_.name);
      }
    }
  });
}

void Communicator::broadcast(void* buffer, std::size_t bytes, int root) {
  if (root < 0 || root >= options_.world_size) {
    throw Error(ErrorKind::kInvalid, "broadcast from rank {}, but there are ranks 0 to {}", root,
                options_.world_size - 1);
  }
  guarded([&] {
    exchange_headers(make_header(kBroadcast, bytes, static_cast<std::uint64_t>(root)));
    const bool receives = options_.rank != root;
    const bool sends = (options_.rank + 1) % options_.world_size != root;
    char* const base = static_cast<char*>(buffer);
    std::size_t received = receives ? 0 : bytes;
    std::size_t sent = sends ? 0 : bytes;
    Deadline deadline = Deadline::after_ms(options_.timeout_ms);
    while (received < bytes || sent < bytes) {
      std::size_t moved = 0;
      if (received < bytes) moved = receive_some(previous_, base + received, std::min(bytes - received, kSendBytesMax));
      received += moved;
      if (sent < received) {
        const std::size_t now = send_some(next_, base + sent, std::min(received - sent, kSendBytesMax));
        sent += now;
        moved += now;
      }
      if (moved > 0) {
        deadline = Deadline::after_ms(options_.timeout_ms);
      } else if ((received < bytes || sent < bytes) &&
                 !wait_ready(sent < received ? &next_ : nullptr, received < bytes ? &previous_ : nullptr, deadline)) {
        throw Error(ErrorKind::kUnavailable, "a broadcast of {} bytes stood still for {} s: {} does not go on", bytes,
                    options_.timeout_ms / 1000, sent < received ? next_.name : previous_.name);
      }
    }
  });
}

void Communicator::barrier() {
  guarded([&] {
    // Twice round the ring: after the first, rank 0 knows that all have come; the second tells them.
    exchange_headers(make_header(kBarrier, 0, 0));
    pass_token();
    pass_token();
  });
}

void Communicator::pass_token() {
  const Deadline deadline = Deadline::after_ms(options_.timeout_ms);
  char token = 1;
  if (options_.rank != 0) receive_all(previous_, &token, 1, deadline);
  send_all(next_, &token, 1, deadline);
  if (options_.rank == 0) receive_all(previous_, &token, 1, deadline);
}

}  // namespace athanor::comm
