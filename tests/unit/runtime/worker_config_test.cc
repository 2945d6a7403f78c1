#include "common/runtime/worker_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dtrpo::runtime {
namespace {

v1::WorkerConfig Valid() {
  v1::WorkerConfig config = DefaultWorkerConfig();
  config.set_coordinator("127.0.0.1:7070");
  return config;
}

TEST(WorkerConfigTest, DefaultsAreValidButForTheCoordinator) {
  EXPECT_THAT(CheckWorkerConfig(Valid()), testing::IsEmpty());
  const auto problems = CheckWorkerConfig(DefaultWorkerConfig());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path, "coordinator");
}

TEST(WorkerConfigTest, LimitsAreCheckedAndNoGenerateCallsIsALimitToo) {
  v1::WorkerConfig config = Valid();
  EXPECT_EQ(config.max_generate_calls(), 2);
  config.set_max_generate_calls(0);
  EXPECT_THAT(CheckWorkerConfig(config), testing::IsEmpty());
  config.set_max_generate_calls(-1);
  config.set_max_generate_prompt_tokens(0);
  config.set_max_generate_new_tokens(0);
  config.set_kv_cache_bytes(1000);
  std::vector<std::string> paths;
  for (const FieldProblem& problem : CheckWorkerConfig(config)) paths.push_back(problem.path);
  EXPECT_THAT(paths, testing::ElementsAre("max_generate_calls", "max_generate_prompt_tokens",
                                          "max_generate_new_tokens", "kv_cache_bytes"));
}

TEST(WorkerConfigTest, AnOrdinalIsANumberOrWhatEndsTheHostsName) {
  EXPECT_EQ(OrdinalOfHost("learner-3"), 3);
  EXPECT_EQ(OrdinalOfHost("learner-12.learner.training.svc"), 12);
  EXPECT_EQ(OrdinalOfHost("learner"), std::nullopt);
  v1::WorkerConfig config = Valid();
  EXPECT_EQ(OrdinalOf(config).value(), std::nullopt);
  config.set_ordinal("7");
  EXPECT_EQ(OrdinalOf(config).value(), 7);
  for (const char* wrong : {"-1", "seven"}) {
    config.set_ordinal(wrong);
    const auto problems = CheckWorkerConfig(config);
    ASSERT_EQ(problems.size(), 1u) << wrong;
    EXPECT_EQ(problems[0].path, "ordinal");
  }
}

TEST(WorkerConfigTest, AWorkerThatListensEverywhereIsReachedAtItsHostsAddress) {
  EXPECT_EQ(ReachableAddress("127.0.0.1:7070"), "127.0.0.1:7070");
  EXPECT_EQ(ReachableAddress("10.1.2.3:7070"), "10.1.2.3:7070");
  EXPECT_EQ(ReachableAddress(""), "");
  for (const char* everywhere : {"0.0.0.0:7070", "[::]:7070"}) {
    const auto address = rpc::ParseAddress(ReachableAddress(everywhere));
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->port, 7070);
    EXPECT_THAT(address->host, testing::Not(testing::AnyOf("0.0.0.0", "::", "")));
  }
}

TEST(WorkerConfigTest, ARendezvousThatOtherMachinesReachNeedsInsecureToBeSaid) {
  v1::WorkerConfig config = Valid();
  config.set_rendezvous_listen("0.0.0.0:29500");
  const auto problems = CheckWorkerConfig(config);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path, "rendezvous_listen");
  config.mutable_server()->set_insecure(true);
  config.set_rendezvous_address("learner-0.learner:29500");
  EXPECT_THAT(CheckWorkerConfig(config), testing::IsEmpty());
  EXPECT_EQ(RendezvousAddressOf(config, "127.0.0.1:1"), "learner-0.learner:29500");
  config.set_rendezvous_address("{hostname}.learner:29500");
  EXPECT_THAT(CheckWorkerConfig(config), testing::IsEmpty());
  EXPECT_THAT(RendezvousAddressOf(config, "127.0.0.1:1"),
              testing::MatchesRegex("[^{]+\\.learner:29500"));
  EXPECT_EQ(RendezvousAddressOf(Valid(), "127.0.0.1:1"), "127.0.0.1:1");
}

}  // namespace
}  // namespace dtrpo::runtime
