#include "common/runtime/config_loader.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "common/base/memory_file_system.h"
#include "proto/dtrpo/v1/config.pb.h"
#include "proto/dtrpo/v1/job.pb.h"
#include "proto/dtrpo/v1/replay.pb.h"

namespace dtrpo::runtime {
namespace {

absl::Status ParseJob(absl::string_view text) {
  v1::JobSpec job;
  return ParseConfig(text, "job.yaml", &job);
}

TEST(ConfigLoaderTest, FillsNestedFieldsOfEveryType) {
  v1::JobSpec job;
  ASSERT_TRUE(ParseConfig(R"(
name: add-1
seed: 18446744073709551615
data: {prompts: "a b.jsonl", shuffle: false}
training:
  steps: 200
  learning_rate: 1e-6
)",
                          "job.yaml", &job)
                  .ok());
  EXPECT_EQ(job.name(), "add-1");
  EXPECT_EQ(job.seed(), ~uint64_t{0});
  EXPECT_EQ(job.data().prompts(), "a b.jsonl");
  EXPECT_TRUE(job.data().has_shuffle());
  EXPECT_FALSE(job.data().shuffle());
  EXPECT_EQ(job.training().steps(), 200);
  EXPECT_DOUBLE_EQ(job.training().learning_rate(), 1e-6);
}

TEST(ConfigLoaderTest, KeepsDefaultsThatTheFileDoesNotNameAndReplacesLists) {
  v1::CoordinatorConfig config;
  config.mutable_server()->set_max_threads(32);
  config.mutable_server()->set_listen("127.0.0.1:0");
  config.add_replay("default:1");
  ASSERT_TRUE(ParseConfig("server: {max_threads: 0}\nreplay: [a:1, b:2]", "c.yaml", &config).ok());
  EXPECT_EQ(config.server().max_threads(), 0);  // zero that is said stays zero
  EXPECT_EQ(config.server().listen(), "127.0.0.1:0");
  ASSERT_EQ(config.replay_size(), 2);
  EXPECT_EQ(config.replay(1), "b:2");
}

TEST(ConfigLoaderTest, AnUnknownFieldIsRefusedWithFileLineAndPath) {
  const absl::Status status = ParseJob("name: a\ntraining:\n  steps: 3\n  step: 4\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StartsWith(status.message(),
                               "job.yaml:4: training.step: unknown field; known are: steps, "))
      << status;
}

TEST(ConfigLoaderTest, EveryRefusalNamesLineAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {"name: a\nname: b", "job.yaml:2: name: set twice"},
      {"\ntraining:\n  steps: many",
       "job.yaml:3: training.steps: 'many' is not a whole number "
       "from -9223372036854775808 to 9223372036854775807"},
      {"training: {pairs_per_batch: 3000000000}",
       "job.yaml:1: training.pairs_per_batch: '3000000000' is not a whole number from -2147483648 "
       "to 2147483647"},
      {"training: {steps: 1.5}",
       "job.yaml:1: training.steps: '1.5' is not a whole number from "
       "-9223372036854775808 to 9223372036854775807"},
      {"seed: -1", "job.yaml:1: seed: '-1' is not a whole number from 0 to 18446744073709551615"},
      {"training: {steps: \"3\"}",
       "job.yaml:1: training.steps: expected a number or true/false, not quoted text"},
      {"objective: {beta: .nan}", "job.yaml:1: objective.beta: '.nan' is not a finite number"},
      {"objective: {beta: inf}", "job.yaml:1: objective.beta: 'inf' is not a finite number"},
      {"objective: {antithetic: yes}",
       "job.yaml:1: objective.antithetic: 'yes' is not true or false"},
      {"objective: 3", "job.yaml:1: objective: expected fields (key: value)"},
      {"name: [a]", "job.yaml:1: name: expected one value"},
      {"name:\nseed: 1", "job.yaml:1: name: has no value"},
      {"- a", "job.yaml:1: expected fields (key: value)"},
      {"name: a\n---\nname: b", "job.yaml:3: more than one document"},
  };
  for (const auto& [text, message] : cases) EXPECT_EQ(ParseJob(text).message(), message) << text;
}

TEST(ConfigLoaderTest, BrokenYamlIsRefusedWithItsLine) {
  const absl::Status status = ParseJob("name: a\ndata: {prompts: x\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StartsWith(status.message(), "job.yaml:3: not valid YAML: ")) << status;
}

TEST(ConfigLoaderTest, ListItemsAreNamedByTheirIndex) {
  v1::CoordinatorConfig config;
  EXPECT_EQ(ParseConfig("replay:\n  - a:1\n  - {b: 2}", "c.yaml", &config).message(),
            "c.yaml:3: replay[1]: expected one value");
  EXPECT_EQ(ParseConfig("replay: a:1", "c.yaml", &config).message(),
            "c.yaml:1: replay: expected a list");
}

TEST(ConfigLoaderTest, EnumsAreGivenByName) {
  v1::InsertResponse message;
  ASSERT_TRUE(ParseConfig("durability: SYNC", "x", &message).ok());
  EXPECT_EQ(message.durability(), v1::SYNC);
  EXPECT_EQ(ParseConfig("durability: FOREVER", "x", &message).message(),
            "x:1: durability: 'FOREVER' is not a value of Durability");
}

TEST(ConfigLoaderTest, AProblemFoundByTheCheckGetsItsLine) {
  v1::CoordinatorConfig config;
  auto parse = [&](const char* path) {
    return ParseConfig("replay: [a:1]\nserver:\n  max_threads: 1", "c.yaml", &config, [&] {
      return std::vector<FieldProblem>{{path, "is wrong"}};
    });
  };
  EXPECT_EQ(parse("server.max_threads").message(), "c.yaml:3: server.max_threads: is wrong");
  EXPECT_EQ(parse("server.listen").message(), "c.yaml:2: server.listen: is wrong");
  EXPECT_EQ(parse("replay[0]").message(), "c.yaml:1: replay[0]: is wrong");
  EXPECT_EQ(parse("lease_ms").message(), "c.yaml: lease_ms: is wrong");
}

TEST(ConfigLoaderTest, AnEmptyFileMeansTheDefaults) {
  v1::ReplayConfig config;
  config.set_engine("memory");
  EXPECT_TRUE(ParseConfig("# nothing\n", "r.yaml", &config).ok());
  EXPECT_EQ(config.engine(), "memory");
}

TEST(ConfigLoaderTest, AMissingFileIsNamed) {
  base::MemoryFileSystem files;
  v1::ReplayConfig config;
  const absl::Status status = LoadConfig(&files, "/etc/replay.yaml", &config);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(status.message(), "/etc/replay.yaml"));
}

TEST(ConfigLoaderTest, WhatIsPrintedReadsBackAsTheSame) {
  v1::JobSpec job;
  job.set_name("a \"b\"\n- c: 1");
  job.set_seed(~uint64_t{0});
  job.mutable_training()->set_learning_rate(1e-6);
  job.mutable_training()->set_steps(-5);
  job.mutable_objective()->set_beta(0.1);
  job.mutable_objective()->set_sft_weight(0);
  job.mutable_data()->set_shuffle(false);
  v1::JobSpec back;
  ASSERT_TRUE(ParseConfig(PrintConfig(job), "printed", &back).ok()) << PrintConfig(job);
  // The printed text names nested messages that were absent, so compare what they mean.
  EXPECT_EQ(PrintConfig(back), PrintConfig(job));
  EXPECT_EQ(back.name(), job.name());
  EXPECT_EQ(back.training().learning_rate(), 1e-6);
  EXPECT_TRUE(back.objective().has_sft_weight());
  EXPECT_FALSE(back.data().has_apply_chat_template());

  v1::CoordinatorConfig config;
  config.add_replay("a:1");
  v1::CoordinatorConfig config_back;
  ASSERT_TRUE(ParseConfig(PrintConfig(config), "printed", &config_back).ok());
  EXPECT_EQ(config_back.replay(0), "a:1");
}

}  // namespace
}  // namespace dtrpo::runtime
