#include "engine/comm/communicator.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/error.h"
#include "common/random.h"
#include "engine/comm/athanor_comm.h"

namespace athanor::comm {
namespace {

using std::chrono::steady_clock;

std::string free_rendezvous() { return "127.0.0.1:" + std::to_string(local_port(listen_at("0"))); }

CommOptions options_for(int rank, int world, const std::string& rendezvous) {
  CommOptions options;
  options.rank = rank;
  options.world_size = world;
  options.rendezvous = rendezvous;
  options.connect_timeout_ms = 20'000;
  options.timeout_ms = 20'000;
  return options;
}

// Runs `body` once per rank, each in a thread of its own; rethrows the first failure.
void on_ranks(int world, const std::function<void(Communicator&)>& body) {
  const std::string rendezvous = free_rendezvous();
  std::vector<std::thread> threads;
  std::vector<std::string> failures(static_cast<std::size_t>(world));
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        Communicator communicator(options_for(rank, world, rendezvous));
        body(communicator);
      } catch (const std::exception& error) {
        failures[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int rank = 0; rank < world; ++rank) EXPECT_EQ(failures[static_cast<std::size_t>(rank)], "") << "rank " << rank;
}

std::vector<float> contribution(int rank, std::size_t count) {
  SeededRandom random(static_cast<std::uint64_t>(rank) * 1000 + count);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  return values;
}

class AnyWorld : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, AnyWorld, testing::Range(1, 9));

TEST_P(AnyWorld, AllReduceSumsAnyLengthBitwiseAlikeOnAllRanks) {
  const int world = GetParam();
  const std::vector<std::size_t> lengths{0, 1, 2, 3, 5, 7, 8, 9, 31, 1000, 65'537, 300'001};
  std::vector<std::vector<std::vector<float>>> results(static_cast<std::size_t>(world));
  on_ranks(world, [&](Communicator& communicator) {
    for (const std::size_t length : lengths) {
      std::vector<float> buffer = contribution(communicator.rank(), length);
      communicator.all_reduce_sum(buffer);
      results[static_cast<std::size_t>(communicator.rank())].push_back(std::move(buffer));
    }
  });
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    std::vector<double> expected(lengths[i], 0.0);
    for (int rank = 0; rank < world; ++rank) {
      const std::vector<float> mine = contribution(rank, lengths[i]);
      for (std::size_t j = 0; j < mine.size(); ++j) expected[j] += static_cast<double>(mine[j]);
    }
    ASSERT_EQ(results[0].size(), lengths.size());
    for (std::size_t j = 0; j < lengths[i]; ++j) ASSERT_NEAR(results[0][i][j], expected[j], 1e-5) << lengths[i];
    for (const auto& other : results) ASSERT_EQ(other[i], results[0][i]) << "length " << lengths[i];
  }
}

TEST_P(AnyWorld, BroadcastReachesEveryRankFromEveryRoot) {
  const int world = GetParam();
  on_ranks(world, [&](Communicator& communicator) {
    for (int root = 0; root < world; ++root) {
      for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{3'000'001}}) {
        std::string buffer(size, static_cast<char>('a' + communicator.rank()));
        communicator.broadcast(buffer.data(), buffer.size(), root);
        ASSERT_EQ(buffer, std::string(size, static_cast<char>('a' + root)));
      }
    }
  });
}

TEST_P(AnyWorld, BarrierHoldsEverybodyUntilTheLastComes) {
  const int world = GetParam();
  std::atomic<int> arrived = 0;
  on_ranks(world, [&](Communicator& communicator) {
    for (int round = 1; round <= 5; ++round) {
      if (communicator.rank() == round % world) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ++arrived;
      communicator.barrier();
      ASSERT_GE(arrived.load(), round * world);
      communicator.barrier();
    }
  });
}

TEST(Communicator, RefusesAPeerOfAnotherGeneration) {
  const std::string rendezvous = free_rendezvous();
  std::string host_said, visitor_said;
  std::thread host([&] {
    CommOptions options = options_for(0, 2, rendezvous);
    options.generation = 4;
    options.connect_timeout_ms = 1'500;
    try {
      Communicator communicator(options);
    } catch (const Error& error) {
      host_said = error.what();
    }
  });
  std::thread visitor([&] {
    CommOptions options = options_for(1, 2, rendezvous);
    options.generation = 3;
    try {
      Communicator communicator(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConflict);
      visitor_said = error.what();
    }
  });
  visitor.join();
  host.join();
  EXPECT_THAT(visitor_said, testing::HasSubstr("rank 1 belongs to generation 3 of the job, rank 0 to generation 4"));
  EXPECT_THAT(host_said, testing::HasSubstr("these ranks did not come: 1"));
  EXPECT_THAT(host_said, testing::HasSubstr("Turned away: rank 1 belongs to generation 3"));
}

TEST(Communicator, TwoProcessesOfOneRankAreToldOfEachOtherAtOnce) {
  const std::string rendezvous = free_rendezvous();
  const auto start = steady_clock::now();
  std::vector<std::thread> threads;
  for (const int rank : {0, 1, 1}) {
    threads.emplace_back([&, rank] {
      try {
        Communicator communicator(options_for(rank, 3, rendezvous));
        ADD_FAILURE() << "rank 2 was not there";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kConflict) << "rank " << rank;
        EXPECT_THAT(error.what(), testing::HasSubstr("two processes say that they are rank 1"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(10)) << "half of the time they had";
}

TEST(Communicator, ASecondProcessOfARankIsToldWhenTheRanksHaveMet) {
  const std::string rendezvous = free_rendezvous();
  std::thread host([&] {
    CommOptions options = options_for(0, 2, rendezvous);
    options.connect_timeout_ms = 3'000;
    EXPECT_THROW(Communicator communicator(options), Error) << "the first rank 1 never opens its link";
  });
  const Socket listener = listen_at("0");
  // magic, purpose, rank; world size, port; generation, process
  const std::uint64_t hello[] = {0x324d4d4f43485441, 1 | 1ULL << 32,
                                 2 | static_cast<std::uint64_t>(local_port(listener)) << 32, 0, 7};
  const Deadline deadline = Deadline::after_ms(20'000);
  std::string why;
  Peer first{Socket(), "rank 0"};
  while (!first.socket.open() && !deadline.over()) {
    first.socket = try_connect(parse_host_port(rendezvous), deadline, why);
  }
  send_all(first, hello, sizeof hello, deadline);
  wait_ready(nullptr, &first, deadline);  // it is welcome
  try {
    Communicator communicator(options_for(1, 2, rendezvous));
    ADD_FAILURE() << "two processes of rank 1 were taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
    EXPECT_THAT(error.what(), testing::HasSubstr("this rank 1 came after all ranks had met"));
  }
  host.join();
}

TEST(Communicator, ARankThatWasStartedAnewTakesItsPlace) {
  const std::string rendezvous = free_rendezvous();
  const auto meet = [&](int rank) { Communicator(options_for(rank, 3, rendezvous)).barrier(); };
  std::thread host(meet, 0);
  for (int life = 0; life < 2; ++life) {
    CommOptions options = options_for(1, 3, rendezvous);
    options.connect_timeout_ms = 300;
    EXPECT_THROW(Communicator communicator(options), Error) << "rank 2 was not there";
  }
  std::thread first(meet, 1);
  meet(2);
  first.join();
  host.join();
}

// Rank 1 reaches rank 0 through a middleman, who loses its first connection and does not tell rank 0.
TEST(Communicator, ARankComesAgainAfterALostConnection) {
  const std::string rendezvous = free_rendezvous();
  const Socket door = listen_at("0");
  const auto meet = [](int rank, const std::string& where) { Communicator(options_for(rank, 3, where)).barrier(); };
  std::thread host(meet, 0, rendezvous);
  std::thread first(meet, 1, "127.0.0.1:" + std::to_string(local_port(door)));
  const Deadline deadline = Deadline::after_ms(20'000);
  const auto forward = [](const Peer& from, const Peer& to) {
    char bytes[4096];
    const std::size_t size = receive_some(from, bytes, sizeof bytes);
    send_all(to, bytes, size, Deadline::after_ms(5'000));
    return size > 0;
  };
  std::vector<Peer> towards_host;  // the first stays open
  for (const bool lost : {true, false}) {
    Peer visitor{Socket(), "rank 1"};
    while (!visitor.socket.open() && !deadline.over()) visitor.socket = accept_waiting(door);
    std::string why;
    towards_host.push_back({Socket(), "rank 0"});
    Peer& there = towards_host.back();
    while (!there.socket.open() && !deadline.over()) {
      there.socket = try_connect(parse_host_port(rendezvous), deadline, why);
    }
    while (!deadline.over() && !forward(visitor, there)) {
      wait_ready(nullptr, &visitor, deadline);  // the hello, a packet
    }
    if (lost) continue;
    std::thread second(meet, 2, rendezvous);
    try {
      while (wait_ready(nullptr, &there, deadline)) forward(there, visitor);
    } catch (const Error&) {
      // Rank 0 has said all it had to say.
    }
    second.join();
  }
  first.join();
  host.join();
}

TEST(Communicator, SaysThatRankZeroIsNotThere) {
  CommOptions options = options_for(1, 2, free_rendezvous());
  options.connect_timeout_ms = 300;
  try {
    Communicator communicator(options);
    FAIL() << "connected to nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), testing::HasSubstr("could not reach rank 0 at " + options.rendezvous));
    EXPECT_THAT(error.what(), testing::HasSubstr("Connection refused"));
  }
}

TEST(Communicator, RejectsBadOptions) {
  EXPECT_THROW(Communicator(options_for(0, 0, "")), Error);
  EXPECT_THROW(Communicator(options_for(2, 2, "127.0.0.1:1")), Error);
  for (const char* address : {"", "nohost", ":7700", "host:", "host:port", "host:70000"}) {
    EXPECT_THROW(Communicator(options_for(0, 2, address)), Error) << address;
  }
}

TEST(Communicator, IgnoresStrangersAtTheRendezvous) {
  const std::string rendezvous = free_rendezvous();
  std::thread host([&] {
    Communicator communicator(options_for(0, 2, rendezvous));
    communicator.barrier();
  });
  std::string why;
  Socket silent, talker;
  while (!silent.open()) silent = try_connect(parse_host_port(rendezvous), Deadline::after_ms(1'000), why);
  talker = try_connect(parse_host_port(rendezvous), Deadline::after_ms(1'000), why);
  const Peer stranger{std::move(talker), "stranger"};
  send_all(stranger, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 26, Deadline::after_ms(1'000));
  Communicator communicator(options_for(1, 2, rendezvous));
  communicator.barrier();
  host.join();
}

TEST(Communicator, DifferentCollectivesAreAnErrorNotAHang) {
  const std::string rendezvous = free_rendezvous();
  std::vector<std::string> said(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator communicator(options_for(rank, 2, rendezvous));
      std::vector<float> buffer(static_cast<std::size_t>(100 + rank));
      try {
        communicator.all_reduce_sum(buffer);
      } catch (const Error& error) {
        said[static_cast<std::size_t>(rank)] = error.what();
      }
      EXPECT_THROW(communicator.barrier(), Error) << "a communicator is spent after an error";
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(said, testing::Contains(testing::HasSubstr("the ranks called different collectives")));
  for (const std::string& text : said) EXPECT_FALSE(text.empty());
}

TEST(Communicator, APeerThatStandsStillIsNamedAfterTheTimeout) {
  const std::string rendezvous = free_rendezvous();
  std::atomic<bool> done = false;
  std::thread lazy([&] {
    Communicator communicator(options_for(1, 2, rendezvous));
    while (!done) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  CommOptions options = options_for(0, 2, rendezvous);
  options.timeout_ms = 200;
  Communicator communicator(options);
  std::vector<float> buffer(10);
  try {
    communicator.all_reduce_sum(buffer);
    ADD_FAILURE() << "nobody answered";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 1 (127.0.0.1)"));
  }
  done = true;
  lazy.join();
}

// Ranks as processes: one is killed in the middle of a stream of all-reduces; the others must fail within seconds.
TEST(Communicator, AKilledRankEndsTheOthersWithinSeconds) {
  for (const int world : {2, 3, 5}) {
    const std::string rendezvous = free_rendezvous();
    std::vector<pid_t> pids;
    for (int rank = 0; rank < world; ++rank) {
      const pid_t pid = ::fork();
      ASSERT_GE(pid, 0);
      if (pid == 0) {
        try {
          Communicator communicator(options_for(rank, world, rendezvous));
          std::vector<float> buffer(1 << 18, 1.0F);
          for (int i = 0; i < 1'000'000; ++i) {
            if (i == 3 && rank == world - 1) ::kill(::getpid(), SIGKILL);
            communicator.all_reduce_sum(buffer);
          }
        } catch (const Error& error) {
          ::_exit(std::string_view(error.what()).find("rank ") != std::string_view::npos ? 7 : 8);
        }
        ::_exit(0);
      }
      pids.push_back(pid);
    }
    const auto start = steady_clock::now();
    for (int rank = 0; rank < world; ++rank) {
      int status = 0;
      ASSERT_EQ(::waitpid(pids[static_cast<std::size_t>(rank)], &status, 0), pids[static_cast<std::size_t>(rank)]);
      if (rank == world - 1) {
        EXPECT_TRUE(WIFSIGNALED(status));
      } else {
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << "rank " << rank << " status " << status;
      }
    }
    EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(10));
  }
}

TEST(CommunicatorC, SumsAndExplainsItsErrors) {
  const athanor_comm_device cpu{ATHANOR_COMM_CPU, 0};
  athanor_comm_options options{};
  options.struct_size = sizeof options;
  options.world_size = 1;
  athanor_comm* comm = nullptr;
  ASSERT_EQ(athanor_comm_open(&options, &comm), ATHANOR_COMM_OK) << athanor_comm_error(nullptr);
  float value = 3;
  EXPECT_EQ(athanor_comm_all_reduce(comm, &value, 1, ATHANOR_COMM_FLOAT32, ATHANOR_COMM_SUM, cpu, nullptr),
            ATHANOR_COMM_OK);
  EXPECT_EQ(value, 3.0F);
  EXPECT_EQ(athanor_comm_all_reduce(comm, &value, 1, ATHANOR_COMM_FLOAT32, ATHANOR_COMM_SUM, {ATHANOR_COMM_CUDA, 0},
                                    nullptr),
            ATHANOR_COMM_INVALID);
  EXPECT_THAT(athanor_comm_error(comm), testing::HasSubstr("takes buffers of the CPU"));
  EXPECT_EQ(athanor_comm_broadcast(comm, &value, 4, 1, cpu, nullptr), ATHANOR_COMM_INVALID);
  EXPECT_EQ(athanor_comm_barrier(comm, cpu, nullptr), ATHANOR_COMM_OK);
  athanor_comm_close(comm);
  options.world_size = -1;
  EXPECT_EQ(athanor_comm_open(&options, &comm), ATHANOR_COMM_INVALID);
  EXPECT_THAT(athanor_comm_error(nullptr), testing::HasSubstr("number of ranks"));
}

}  // namespace
}  // namespace athanor::comm
