#include "engine/tensor/context.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/cpu/products.h"

namespace athanor::tensor {

namespace {

// How often a thread looks before it sleeps: operators follow each other within microseconds, a wake-up costs tens.
constexpr int kSpins = 2000;

void pause() { __builtin_ia32_pause(); }

}  // namespace

struct Context::State {
  // One call of parallel(): written by the caller before `round` moves, read by the workers after.
  struct Work {
    std::int64_t count = 0;
    std::int64_t grain = 1;
    const std::function<void(std::int64_t, std::int64_t, int)>* body = nullptr;
  };

  explicit State(int threads) : threads(threads), products(threads), failures(static_cast<std::size_t>(threads)) {
    for (int i = 1; i < threads; ++i) workers.emplace_back([this, i] { serve(i); });
  }

  ~State() {
    {
      const std::lock_guard lock(mutex);
      ending = true;
      round.fetch_add(1);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run_part(int thread) {
    const std::int64_t units = (work.count + work.grain - 1) / work.grain;
    const std::int64_t begin = units * thread / threads * work.grain;
    const std::int64_t end = std::min(units * (thread + 1) / threads * work.grain, work.count);
    if (begin >= end) return;
    try {
      (*work.body)(begin, end, thread);
    } catch (...) {
      failures[static_cast<std::size_t>(thread)] = std::current_exception();
    }
  }

  void serve(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < kSpins && round.load() == seen; ++i) pause();
      if (round.load() == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return round.load() != seen; });
      }
      seen = round.load();
      if (ending) return;
      run_part(thread);
      if (busy.fetch_sub(1) == 1) {
        const std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }

  void run(const Work& what) {
    work = what;
    busy.store(threads - 1);
    {
      const std::lock_guard lock(mutex);
      round.fetch_add(1);
    }
    wake.notify_all();
    run_part(0);
    for (int i = 0; i < kSpins && busy.load() != 0; ++i) pause();
    if (busy.load() != 0) {
      std::unique_lock lock(mutex);
      done.wait(lock, [&] { return busy.load() == 0; });
    }
    // All are taken out, for none may be left to the next call.
    std::exception_ptr first;
    for (std::exception_ptr& failure : failures) {
      const std::exception_ptr taken = std::exchange(failure, nullptr);
      if (!first) first = taken;
    }
    if (first) std::rethrow_exception(first);
  }

  const int threads;
  Products products;
  Work work;
  std::vector<std::exception_ptr> failures;  // by thread
  std::atomic<std::uint64_t> round = 0;
  std::atomic<int> busy = 0;
  std::atomic<bool> ending = false;
  std::mutex mutex;  // guards nothing but the sleep of the two conditions
  std::condition_variable wake;
  std::condition_variable done;
  std::vector<std::thread> workers;
};

Context::Context(int threads) {
  if (threads == 0) threads = available_cpus();
  if (threads < 1 || threads > kThreadsMax) {
    throw Error(ErrorKind::kInvalid, "A number of threads must lie between 1 and {}, and {} was asked for", kThreadsMax,
                threads);
  }
  cpu::kernels();  // a CPU that cannot run them is told now
  state_ = std::make_unique<State>(threads);
}

Context::~Context() = default;

int Context::threads() const { return state_->threads; }

Context::Products& Context::products() { return state_->products; }

void Context::parallel(std::int64_t count, std::int64_t grain,
                       const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  ATHANOR_ASSERT(count >= 0 && grain > 0);
  if (count == 0) return;
  if (state_->threads == 1 || count <= grain) return body(0, count, 0);
  state_->run({count, grain, &body});
}

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;  // more CPUs than cpu_set_t has room for
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace athanor::tensor
