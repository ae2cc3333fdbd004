#include "platform/api/s3_transfer.h"

#include <algorithm>
#include <functional>
#include <mutex>

#include "common/error.h"
#include "platform/api/s3_error.h"

namespace athanor::api {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

using Nothing = storage::ObjectStore::Nothing;

// Two halves of one piece's work on two workers. Buffers and body live as long as the work does, whatever becomes of
// the coroutine that began it.
class Piece {
 public:
  static std::shared_ptr<Piece> start(boost::asio::thread_pool& workers, std::shared_ptr<storage::IncomingBody> body,
                                      std::shared_ptr<std::string> bytes, std::size_t size) {
    auto piece = std::make_shared<Piece>();
    boost::asio::post(workers, [piece, body, bytes, size] {
      piece->half([&] { body->hash(std::string_view(*bytes).substr(0, size)); });
    });
    boost::asio::post(workers, [piece, body, bytes, size] {
      piece->half([&] { body->store(std::string_view(*bytes).substr(0, size)); });
    });
    return piece;
  }

  wire::Awaitable<Nothing> wait() {
    return call_back<Nothing>([this](auto done) {
      {
        const std::lock_guard lock(mutex_);
        if (left_ > 0) {
          waiting_ = [done](std::exception_ptr failure) { done(failure, Nothing()); };
          return;
        }
      }
      done(failure_, Nothing());
    });
  }

 private:
  template <typename Work>
  void half(const Work& work) {
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    std::function<void(std::exception_ptr)> waiting;
    {
      const std::lock_guard lock(mutex_);
      if (failure) failure_ = failure;
      if (--left_ > 0) return;
      waiting = std::move(waiting_);
    }
    if (waiting) waiting(failure_);
  }

  std::mutex mutex_;
  int left_ = 2;                                     // guarded by mutex_
  std::exception_ptr failure_;                       // guarded by mutex_
  std::function<void(std::exception_ptr)> waiting_;  // guarded by mutex_
};

// Fills `into` unless the body ends before; returns how much came.
wire::Awaitable<std::size_t> fill(wire::VerifiedBody& from, std::span<char> into) {
  std::size_t filled = 0;
  bool broken = false;
  std::string reason;
  try {
    while (filled < into.size()) {
      const std::size_t got = co_await from.read_some(into.subspan(filled));
      if (got == 0) break;
      filled += got;
    }
  } catch (const wire::BodyError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnavailable) throw;
    broken = true;
    reason = error.what();
  }
  if (broken) {
    throw S3Error(400, "IncompleteBody",
                  "You did not provide the number of bytes specified by the Content-Length HTTP header");
  }
  co_return filled;
}

}  // namespace

wire::Awaitable<void> receive(wire::VerifiedBody& from, std::shared_ptr<storage::IncomingBody> into,
                              boost::asio::thread_pool& workers, std::uint64_t bytes_max) {
  const auto length = from.length();
  const auto too_large = [&] {
    return S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
                   {{"MaxSizeAllowed", std::to_string(bytes_max)}});
  };
  if (length && *length > bytes_max) throw too_large();
  // One byte more than the length lets the end show itself in the same filling.
  const std::size_t first_bytes =
      length ? static_cast<std::size_t>(std::min<std::uint64_t>(*length + 1, kPieceBytes)) : kPieceBytes;
  auto reading = std::make_shared<std::string>(first_bytes, '\0');
  std::size_t filled = co_await fill(from, *reading);
  if (filled < reading->size() && filled <= storage::kSmallBodyBytesMax && into->in_memory()) {
    into->write(std::string_view(*reading).substr(0, filled));
    into->finish();
    co_return;
  }
  std::shared_ptr<std::string> spare;
  std::shared_ptr<Piece> working;
  std::uint64_t total = 0;
  while (filled > 0) {
    total += filled;
    if (total > bytes_max) throw too_large();
    if (working) co_await working->wait();
    working = Piece::start(workers, into, reading, filled);
    const bool last = filled < reading->size();
    if (last) break;
    if (!spare || spare->size() != kPieceBytes) spare = std::make_shared<std::string>(kPieceBytes, '\0');
    std::swap(reading, spare);
    filled = co_await fill(from, *reading);
  }
  if (working) co_await working->wait();
  auto finishing = on_worker<Nothing>(workers, [into] {
    into->finish();
    return Nothing();
  });
  co_await std::move(finishing);
}

}  // namespace athanor::api
