#include "common/collectives/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <torch/utils.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/collectives/rendezvous_store.h"

namespace dtrpo::collectives {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<RendezvousStore> Store() {
  auto store = RendezvousStore::Listen("127.0.0.1:0");
  DTRPO_CHECK_OK(store);
  return *std::move(store);
}

std::unique_ptr<ProcessGroup> Group(int rank, int world, const std::string& store,
                                    const std::string& name = "group") {
  return std::make_unique<ProcessGroup>(
      ProcessGroup::Options{.rank = rank, .world = world, .name = name, .store = store});
}

// Runs `body` as each rank of a group, on threads.
void AsRanks(int world, const std::function<void(ProcessGroup&)>& body) {
  const auto store = Store();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      const auto group = Group(rank, world, store->address());
      const absl::Status joined = group->Join();
      ASSERT_TRUE(joined.ok()) << joined;
      body(*group);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class ProcessGroupOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, ProcessGroupOf, ::testing::Values(1, 2, 3, 4));

TEST_P(ProcessGroupOf, EachRankGetsItsSliceOfTheSum) {
  const int world = GetParam();
  AsRanks(world, [&](ProcessGroup& group) {
    const torch::Tensor input = torch::arange(world * 1000, torch::kFloat64) * (group.rank() + 1);
    const torch::Tensor output = torch::empty({1000}, torch::kFloat64);
    ProcessGroup::Pending pending = group.StartReduceScatter(input, output);
    ASSERT_TRUE(group.Await(pending).ok());
    const double factor = world * (world + 1) / 2.0;
    const torch::Tensor expected =
        torch::arange(group.rank() * 1000, (group.rank() + 1) * 1000, torch::kFloat64) * factor;
    EXPECT_TRUE(torch::equal(output, expected));
  });
}

TEST_P(ProcessGroupOf, TheOwnSliceOfAGatheredTensorMayBeItsInput) {
  const int world = GetParam();
  AsRanks(world, [&](ProcessGroup& group) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      const torch::Tensor all = torch::zeros({world * 5}, dtype);
      const torch::Tensor own = all.narrow(0, group.rank() * 5, 5);
      own.fill_(group.rank() + 1);
      ProcessGroup::Pending pending = group.StartAllGather(own, all);
      ASSERT_TRUE(group.Await(pending).ok());
      for (int r = 0; r < world; ++r) EXPECT_EQ(all[5 * r + 4].item<float>(), r + 1);
    }
  });
}

TEST_P(ProcessGroupOf, WordsOfAnyLengthReachEveryone) {
  const int world = GetParam();
  AsRanks(world, [&](ProcessGroup& group) {
    const auto words = group.AllGatherBytes(std::string(group.rank() * 3, 'x'));
    ASSERT_TRUE(words.ok()) << words.status();
    ASSERT_EQ(words->size(), static_cast<size_t>(world));
    for (int r = 0; r < world; ++r) EXPECT_EQ((*words)[r], std::string(r * 3, 'x'));
  });
}

TEST(ProcessGroupTest, OneStoreServesOneGroupAfterTheOther) {
  const auto store = Store();
  for (const char* name : {"first", "second"}) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        const auto group = Group(rank, 2, store->address(), name);
        ASSERT_TRUE(group->Join().ok());
        EXPECT_TRUE(group->AllGatherBytes(name).ok());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(ProcessGroupTest, AnAbortEndsJoiningAndSaysWhy) {
  const auto store = Store();
  const auto group = Group(1, 2, store->address());
  std::thread aborter([&] {
    absl::SleepFor(absl::Milliseconds(300));
    group->Abort("rank 0 was silent");
  });
  const absl::Status status = group->Join();
  aborter.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("rank 1 of 2"), HasSubstr("rank 0 was silent")));
  EXPECT_FALSE(group->AllGatherBytes("later").ok());
}

TEST(ProcessGroupTest, ADeviceThatTheBuildDoesntHaveIsRefusedWithWords) {
  const auto store = Store();
  ProcessGroup group({.rank = 0,
                      .world = 1,
                      .name = "gpu",
                      .store = store->address(),
                      .device = torch::Device("cuda:0")});
  const absl::Status status = group.Join();
  EXPECT_THAT(std::string(status.message()), HasSubstr("DTRPO_CUDA"));
}

// The other rank as a process, which dies or stands still in the middle of the work. Forked before
// this process has threads of LibTorch's, so a fork server isn't needed.
class LostRank : public ::testing::TestWithParam<int> {
 protected:
  // Child: rank 1, which gathers words until it is stopped.
  pid_t Fork(int port_pipe) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    std::string address(64, '\0');
    const ssize_t size = read(port_pipe, address.data(), address.size());
    address.resize(std::max<ssize_t>(size, 0));
    const auto group = Group(1, 2, address);
    if (!group->Join().ok()) _exit(3);
    for (int i = 0; i < 100000; ++i) {
      if (!group->AllGatherBytes("x").ok()) _exit(4);
    }
    _exit(5);
  }
};
INSTANTIATE_TEST_SUITE_P(By, LostRank, ::testing::Values(SIGKILL, SIGSTOP),
                         [](const auto& p) { return p.param == SIGKILL ? "kill" : "stop"; });

TEST_P(LostRank, EndsTheOperationOfTheOthers) {
  signal(SIGPIPE, SIG_IGN);  // as every service does (common/runtime/shutdown_signal.h)
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const pid_t child = Fork(fds[0]);
  ASSERT_GT(child, 0);
  const auto store = Store();
  ASSERT_EQ(write(fds[1], store->address().data(), store->address().size()),
            static_cast<ssize_t>(store->address().size()));
  auto group = Group(0, 2, store->address());
  ASSERT_TRUE(group->Join().ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(group->AllGatherBytes("x").ok());
  ASSERT_EQ(kill(child, GetParam()), 0);
  // Whoever watches the processes says so some time later; a process that is gone is noticed
  // without that.
  std::thread watcher([&] {
    if (GetParam() == SIGKILL) return;
    absl::SleepFor(absl::Seconds(1));
    group->Abort("rank 1 of 2 was silent for 1s");
  });
  absl::Status status;
  const absl::Time started = absl::Now();
  while (status.ok() && absl::Now() - started < absl::Seconds(60)) {
    status = group->AllGatherBytes("x").status();
  }
  watcher.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 0 of 2"));
  if (GetParam() == SIGSTOP) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 of 2 was silent"));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  group.reset();  // doesn't wait either
  close(fds[0]);
  close(fds[1]);
}

TEST(RendezvousStoreTest, ListensWhereItIsTold) {
  const auto store = Store();
  EXPECT_THAT(store->address(), ::testing::MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  const auto taken = RendezvousStore::Listen(store->address());
  EXPECT_THAT(std::string(taken.status().message()), HasSubstr(store->address()));
}

TEST(RendezvousStoreTest, AddressesThatMakeNoSenseAreNamed) {
  for (const char* address : {"nowhere", ":80", "host:", "host:x", "host:70000"}) {
    EXPECT_THAT(std::string(ParseHostAndPort(address).status().message()), HasSubstr(address));
  }
  EXPECT_EQ(ParseHostAndPort("[::1]:80")->host, "::1");
}

}  // namespace
}  // namespace dtrpo::collectives
