#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/wire/trajectory_codec.h"
#include "google/protobuf/util/json_util.h"
#include "proto/dtrpo/v1/replay.pb.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/judge_items.h"

namespace dtrpo::ctl {
namespace {

using ::testing::HasSubstr;

v1::Trajectory Answer(const std::string& text, double reward) {
  trajectory::Trajectory t;
  t.prompt_tokens = {1};
  t.response_tokens = {2, 3};
  t.unmask_step = {1, 2};
  t.behaviour_logprob = {-1, -1};
  t.block_size = 2;
  t.stop_index = 1;
  t.sampler.max_new_tokens = 2;
  t.weights_version = {0};
  t.text = text;
  t.reward = reward;
  v1::Trajectory message;
  wire::ToProto(t, &message);
  return message;
}

class JudgeItemsTest : public ::testing::Test {
 protected:
  JudgeItemsTest() : base_(absl::StrCat(::testing::TempDir(), "/dtrpo_judge_", getpid())) {
    options_.file = base_ + ".items";
    options_.data = base_ + ".data";
    options_.verifiers = {"exact"};
    WriteData(
        "{\"id\": 0, \"prompt\": \"3+4=\", \"answer\": \"7\"}\n\n"
        "{\"id\": 1, \"prompt\": \"1+1=\", \"answer\": 2}\n");
  }
  ~JudgeItemsTest() override {
    unlink(options_.file.c_str());
    unlink(options_.data.c_str());
  }

  void WriteData(const std::string& lines) { std::ofstream(options_.data) << lines; }
  void Write(int64_t number, int64_t prompt, const v1::Trajectory& chosen,
             const v1::Trajectory& rejected, int64_t version = 0) {
    v1::ReplayItem item;
    item.set_item(number);
    item.set_version(version);
    item.mutable_prompt()->set_prompt_index(prompt);
    *item.mutable_pair()->mutable_chosen() = chosen;
    *item.mutable_pair()->mutable_rejected() = rejected;
    std::string json;
    ASSERT_TRUE(google::protobuf::util::MessageToJsonString(item, &json).ok());
    std::ofstream(options_.file, std::ios::app) << json << "\n";
  }
  int Judge() {
    return JudgeItems(session_, options_, [](const std::string&) {
      return absl::StatusOr<std::unique_ptr<reward::RemoteReward>>(
          absl::UnavailableError("no service here"));
    });
  }

  const std::string base_;
  std::ostringstream out_, err_;
  const Session session_ = {.client = nullptr, .address = "", .out = &out_, .err = &err_};
  JudgeOptions options_;
};

TEST_F(JudgeItemsTest, AnswersWhoseRewardIsTheSameAreOnlyCounted) {
  Write(1, 0, Answer("7", 1), Answer("8", 0));
  Write(2, 1, Answer("2", 1), Answer("3", 0));
  EXPECT_EQ(Judge(), kOk) << err_.str();
  EXPECT_EQ(out_.str(), "");
  EXPECT_THAT(err_.str(), HasSubstr("4 answers judged, 0 have another reward now, 0 have none"));
}

TEST_F(JudgeItemsTest, AChangedRewardIsShownWithItsReason) {
  Write(12, 0, Answer("7", 1), Answer("7.0", 0));
  options_.verifiers = {"number", "0.5*length:1..9"};
  EXPECT_EQ(Judge(), kOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("item 12 chosen: 1 is now 1.5"));
  EXPECT_THAT(out_.str(), HasSubstr("item 12 rejected: 0 is now 1.5 (number 1: "));
}

TEST_F(JudgeItemsTest, WhatCannotBeJudgedIsNamedAndFailsTheCommand) {
  Write(1, 0, Answer("7", 1), Answer("8", 0));
  WriteData("{\"answer\": \"seven\"}\n");
  options_.verifiers = {"number"};
  EXPECT_EQ(Judge(), kFailed);
  EXPECT_THAT(out_.str(), HasSubstr("seven"));
}

TEST_F(JudgeItemsTest, ImportedPairsAreLeftOutAndForeignPromptsAreRefused) {
  Write(1, 0, Answer("7", 1), Answer("8", 0), /*version=*/-1);
  EXPECT_EQ(Judge(), kOk) << err_.str();
  EXPECT_THAT(err_.str(), HasSubstr("1 imported items left out"));
  Write(2, 9, Answer("7", 1), Answer("8", 0));
  EXPECT_EQ(Judge(), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("item 2 is of prompt 9"));
}

}  // namespace
}  // namespace dtrpo::ctl
