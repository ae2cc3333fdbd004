#include "engine/comm/rendezvous.h"

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "common/random.h"

namespace athanor::comm {

namespace {

constexpr std::uint64_t kMagic = 0x324d4d4f43485441;  // "ATHCOMM2", little-endian
constexpr int kPendingMax = 1024;                     // strangers that may knock at once
constexpr std::int64_t kHelloTimeout_ms = 10'000;     // a connection that says nothing is dropped
constexpr std::int64_t kRetry_ms = 20;
constexpr std::size_t kReasonMax = 512;

enum class Purpose : std::uint32_t { kHello = 1, kLink = 2 };
enum class Verdict : std::uint32_t { kWelcome = 1, kRefused = 2 };

// All fields little-endian; every machine that we run on is.
struct Greeting {
  std::uint64_t magic = kMagic;
  Purpose purpose = Purpose::kHello;
  std::uint32_t rank = 0;
  std::uint32_t world_size = 0;
  std::uint32_t port = 0;  // where the sender accepts its predecessor
  std::uint64_t generation = 0;
  std::uint64_t process = 0;  // random: tells a rank that comes again from another that says it has the same number
};
static_assert(sizeof(Greeting) == 40);

struct Answer {
  std::uint64_t magic = kMagic;
  Verdict verdict = Verdict::kWelcome;
  char reason[kReasonMax] = "";  // why refused
};

struct TableEntry {
  char address[64] = "";  // numeric
  std::uint32_t port = 0;
};

Greeting greeting_of(const CommOptions& options, Purpose purpose, int port) {
  Greeting greeting;
  greeting.purpose = purpose;
  greeting.rank = static_cast<std::uint32_t>(options.rank);
  greeting.world_size = static_cast<std::uint32_t>(options.world_size);
  greeting.port = static_cast<std::uint32_t>(port);
  greeting.generation = options.generation;
  return greeting;
}

std::string rank_name(int rank, const std::string& address) { return fmt::format("rank {} ({})", rank, address); }

void pause_before_retry(Deadline deadline) {
  const std::int64_t ms = std::min<std::int64_t>(kRetry_ms, deadline.left_ms());
  const timespec pause{ms / 1000, ms % 1000 * 1'000'000};
  ::nanosleep(&pause, nullptr);
}

std::string taken_twice(std::uint32_t rank) { return fmt::format("two processes say that they are rank {}", rank); }

// Why a greeting does not belong here, or nothing.
std::optional<std::string> objection(const CommOptions& options, const Greeting& greeting) {
  if (greeting.generation != options.generation) {
    return fmt::format("rank {} belongs to generation {} of the job, rank {} to generation {}", greeting.rank,
                       greeting.generation, options.rank, options.generation);
  }
  if (greeting.world_size != static_cast<std::uint32_t>(options.world_size)) {
    return fmt::format("rank {} was started for {} ranks, rank {} for {}", greeting.rank, greeting.world_size,
                       options.rank, options.world_size);
  }
  if (greeting.rank >= greeting.world_size || greeting.rank == static_cast<std::uint32_t>(options.rank)) {
    return taken_twice(greeting.rank);
  }
  return std::nullopt;
}

void refuse(const Peer& peer, const std::string& reason) {
  Answer answer;
  answer.verdict = Verdict::kRefused;
  std::memcpy(answer.reason, reason.data(), std::min(reason.size(), kReasonMax - 1));
  try {
    send_all(peer, &answer, sizeof answer, Deadline::after_ms(1'000));
  } catch (const Error&) {
    // It is being turned away; that it left by itself changes nothing.
  }
}

// Whether the other end of a connection that should be silent is there still.
bool still_there(const Peer& peer) {
  char said;
  try {
    return receive_some(peer, &said, 1) == 0;
  } catch (const Error&) {
    return false;
  }
}

// Accepts connections until one has said a whole greeting; strangers that stay silent or talk nonsense are dropped
// without holding up the others.
class Door {
 public:
  explicit Door(const Socket& listener) : listener_(listener) {}

  struct Visitor {
    Peer peer;
    std::string address;
    Greeting greeting;
  };

  // Nothing when the deadline passed.
  std::optional<Visitor> next(Deadline deadline) {
    while (!deadline.over()) {
      std::vector<pollfd> waiting{{listener_.fd(), POLLIN, 0}};
      for (const Pending& one : pending_) waiting.push_back({one.peer.socket.fd(), POLLIN, 0});
      if (::poll(waiting.data(), waiting.size(), std::min(deadline.left_ms(), 1'000)) < 0 && errno != EINTR) {
        throw system_error(errno, "waiting for the other ranks");
      }
      if (std::optional<Visitor> complete = read_pending()) return complete;
      if (pending_.size() < kPendingMax) {
        Socket socket = accept_waiting(listener_);
        if (socket.open()) {
          Pending fresh;
          fresh.address = remote_address(socket);
          fresh.peer = Peer{std::move(socket), "a connection from " + fresh.address};
          fresh.until = Deadline::after_ms(kHelloTimeout_ms);
          pending_.push_back(std::move(fresh));
        }
      }
    }
    return std::nullopt;
  }

 private:
  struct Pending {
    Peer peer;
    std::string address;
    Greeting greeting;
    std::size_t received = 0;
    Deadline until;
  };

  std::optional<Visitor> read_pending() {
    for (auto one = pending_.begin(); one != pending_.end();) {
      bool drop = one->until.over();
      try {
        one->received += receive_some(one->peer, reinterpret_cast<char*>(&one->greeting) + one->received,
                                      sizeof(Greeting) - one->received);
      } catch (const Error&) {
        drop = true;  // a port scanner, or a rank that will retry
      }
      if (one->received >= sizeof kMagic && one->greeting.magic != kMagic) drop = true;
      if (!drop && one->received == sizeof(Greeting)) {
        Visitor visitor{std::move(one->peer), std::move(one->address), one->greeting};
        pending_.erase(one);
        return visitor;
      }
      one = drop ? pending_.erase(one) : one + 1;
    }
    return std::nullopt;
  }

  const Socket& listener_;
  std::vector<Pending> pending_;
};

std::string missing_ranks(const std::vector<bool>& present) {
  std::string text;
  int listed = 0;
  for (std::size_t rank = 0; rank < present.size(); ++rank) {
    if (present[rank]) continue;
    if (++listed > 8) return text + ", …";
    text += fmt::format("{}{}", text.empty() ? "" : ", ", rank);
  }
  return text;
}

Answer receive_answer(const Peer& peer, const CommOptions& options, Deadline deadline) {
  Answer answer;
  receive_all(peer, &answer, sizeof answer, deadline);
  if (answer.magic != kMagic) {
    throw Error(ErrorKind::kCorrupt, "{} is no rank of an Athanor job: is {} the right rendezvous address?", peer.name,
                options.rendezvous);
  }
  answer.reason[kReasonMax - 1] = 0;
  return answer;
}

// Rank 0: waits for everybody, then hands out the table.
std::vector<TableEntry> host(const CommOptions& options, const HostPort& rendezvous, Door& door, Deadline deadline) {
  const auto world = static_cast<std::size_t>(options.world_size);
  std::vector<Peer> peers(world);
  std::vector<bool> present(world, false);
  std::vector<std::uint64_t> processes(world);
  std::vector<TableEntry> table(world);
  std::string turned_away;  // the last of an earlier life, and why
  present[0] = true;
  table[0].port = static_cast<std::uint32_t>(std::stoi(rendezvous.port));
  for (std::size_t missing = world - 1; missing > 0;) {
    std::optional<Door::Visitor> visitor = door.next(deadline);
    if (!visitor) {
      throw Error(
          ErrorKind::kUnavailable,
          "rank 0 waited {} s at {} and these ranks did not come: {}.{} Look at their output, or give them more "
          "time to start",
          options.connect_timeout_ms / 1000, rendezvous.text(), missing_ranks(present), turned_away);
    }
    const Greeting& greeting = visitor->greeting;
    std::optional<std::string> why = objection(options, greeting);
    if (!why && greeting.purpose != Purpose::kHello) why = "a link was opened before the table was handed out";
    // A rank may come again: it lost its first connection, or was started anew after its process ended.
    if (!why && present[greeting.rank] && processes[greeting.rank] != greeting.process &&
        still_there(peers[greeting.rank])) {
      why = taken_twice(greeting.rank);
    }
    if (why) {
      refuse(visitor->peer, *why);
      // A rank of an earlier life may still be knocking: it goes, we stay. Anything else will not mend itself.
      if (greeting.generation < options.generation) {
        turned_away = " Turned away: " + *why + ".";
        continue;
      }
      for (const Peer& peer : peers) {
        if (peer.socket.open()) refuse(peer, *why);
      }
      throw Error(ErrorKind::kConflict, "the ranks do not fit together: {}", *why);
    }
    const std::size_t rank = greeting.rank;
    visitor->peer.name = rank_name(static_cast<int>(rank), visitor->address);
    if (!present[rank]) --missing;
    present[rank] = true;
    processes[rank] = greeting.process;
    std::strncpy(table[rank].address, visitor->address.c_str(), sizeof table[rank].address - 1);
    table[rank].port = greeting.port;
    peers[rank] = std::move(visitor->peer);
    // When all have come, who left meanwhile is waited for once more.
    if (missing > 0) continue;
    for (std::size_t other = 1; other < world; ++other) {
      present[other] = still_there(peers[other]);
      if (!present[other]) ++missing;
    }
  }
  for (std::size_t rank = 1; rank < world; ++rank) {
    const Answer welcome;
    send_all(peers[rank], &welcome, sizeof welcome, deadline);
    send_all(peers[rank], table.data(), table.size() * sizeof(TableEntry), deadline);
  }
  return table;
}

// Other ranks: knock until rank 0 answers, then wait for the table.
std::vector<TableEntry> visit(const CommOptions& options, const HostPort& rendezvous, int port, Deadline deadline) {
  const std::uint64_t process = SystemRandom().next();
  std::string why = "no answer";
  while (!deadline.over()) {
    Peer host{try_connect(rendezvous, deadline, why), rank_name(0, rendezvous.text())};
    if (host.socket.open()) {
      try {
        Greeting hello = greeting_of(options, Purpose::kHello, port);
        hello.process = process;
        send_all(host, &hello, sizeof hello, deadline);
        const Answer answer = receive_answer(host, options, deadline);
        if (answer.verdict != Verdict::kWelcome) {
          throw Error(ErrorKind::kConflict, "rank 0 at {} refused us: {}", rendezvous.text(), answer.reason);
        }
        std::vector<TableEntry> table(static_cast<std::size_t>(options.world_size));
        receive_all(host, table.data(), table.size() * sizeof(TableEntry), deadline);
        for (TableEntry& entry : table) entry.address[sizeof entry.address - 1] = 0;
        return table;
      } catch (const Error& failure) {
        if (failure.kind() != ErrorKind::kUnavailable) throw;
        why = failure.what();  // rank 0 restarted, or something else held its port for a moment
      }
    }
    pause_before_retry(deadline);
  }
  throw Error(
      ErrorKind::kUnavailable,
      "rank {} could not reach rank 0 at {} within {} s: {}. Look at rank 0's output, and check that the address "
      "is reachable from here",
      options.rank, rendezvous.text(), options.connect_timeout_ms / 1000, why);
}

Peer link_to(const CommOptions& options, int rank, const HostPort& to, Deadline deadline) {
  std::string why;
  while (!deadline.over()) {
    Peer peer{try_connect(to, deadline, why), rank_name(rank, to.text())};
    if (peer.socket.open()) {
      const Greeting link = greeting_of(options, Purpose::kLink, 0);
      send_all(peer, &link, sizeof link, deadline);
      return peer;
    }
    pause_before_retry(deadline);
  }
  throw Error(ErrorKind::kUnavailable, "rank {} could not connect to rank {} at {}: {}", options.rank, rank, to.text(),
              why);
}

Peer link_from(const CommOptions& options, int rank, Door& door, Deadline deadline) {
  for (;;) {
    std::optional<Door::Visitor> visitor = door.next(deadline);
    if (!visitor) {
      throw Error(ErrorKind::kUnavailable, "rank {} did not connect to rank {} in time; look at its output", rank,
                  options.rank);
    }
    if (const std::optional<std::string> why = objection(options, visitor->greeting)) {
      refuse(visitor->peer, *why);
      continue;
    }
    if (visitor->greeting.purpose == Purpose::kHello) {
      refuse(visitor->peer, fmt::format("this rank {} came after all ranks had met: is another process of it running?",
                                        visitor->greeting.rank));
      continue;
    }
    if (visitor->greeting.purpose != Purpose::kLink || visitor->greeting.rank != static_cast<std::uint32_t>(rank)) {
      continue;
    }
    visitor->peer.name = rank_name(rank, visitor->address);
    return std::move(visitor->peer);
  }
}

}  // namespace

Ring meet(const CommOptions& options) {
  const Deadline deadline = Deadline::after_ms(options.connect_timeout_ms);
  const HostPort rendezvous = parse_host_port(options.rendezvous);
  const Socket listener = listen_at(options.rank == 0 ? rendezvous.port : "0");
  Door door(listener);
  std::vector<TableEntry> table = options.rank == 0 ? host(options, rendezvous, door, deadline)
                                                    : visit(options, rendezvous, local_port(listener), deadline);

  const int next = (options.rank + 1) % options.world_size;
  const int previous = (options.rank + options.world_size - 1) % options.world_size;
  const TableEntry& entry = table[static_cast<std::size_t>(next)];
  const HostPort to = next == 0 ? rendezvous : HostPort{entry.address, std::to_string(entry.port)};
  Ring ring;
  ring.next = link_to(options, next, to, deadline);
  ring.previous = link_from(options, previous, door, deadline);
  return ring;
}

}  // namespace athanor::comm
