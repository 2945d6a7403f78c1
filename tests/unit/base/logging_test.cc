#include "common/base/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dtrpo::base {
namespace {

using testing::EndsWith;
using testing::MatchesRegex;

class LoggingTest : public testing::Test {
 protected:
  void SetUp() override {
    ConfigureLogging("rollout", LogLevel::kInfo);
    SetLogSinkForTest([this](const std::string& line) { lines_.push_back(line); });
  }
  void TearDown() override {
    SetLogSinkForTest(nullptr);
    ConfigureLogging("", LogLevel::kInfo);
  }
  std::vector<std::string> lines_;
};

TEST_F(LoggingTest, ALineHasTimeLevelServiceMessageAndFields) {
  LogInfo("weights swapped", {{"version", 3}, {"seconds", 0.5}, {"full", true}, {"from", "r-0"}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], MatchesRegex("....-..-..T..:..:......Z INFO rollout weights swapped "
                                      "version=3 seconds=0.5 full=true from=r-0\n"));
}

TEST_F(LoggingTest, ForeignTextCanNotForgeALine) {
  LogError("bad name", {{"name", "x\n2026 ERROR \"gone\""}, {"empty", ""}});
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0],
              EndsWith(R"( ERROR rollout bad name name="x\n2026 ERROR \"gone\"" empty="")"
                       "\n"));
}

TEST_F(LoggingTest, StatusesAndDurationsAreFields) {
  LogWarning("retrying", {{"status", absl::UnavailableError("down")}, {"in", absl::Seconds(1.5)}});
  EXPECT_THAT(lines_.at(0), EndsWith("retrying status=\"UNAVAILABLE: down\" in=1.5s\n"));
}

TEST_F(LoggingTest, LinesBelowTheLevelAreDropped) {
  LogDebug("not seen");
  SetLogLevel(LogLevel::kError);
  LogWarning("not seen");
  LogError("seen");
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LoggingTest, LevelsAreParsedByName) {
  EXPECT_EQ(*ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(*ParseLogLevel("error"), LogLevel::kError);
  EXPECT_EQ(ParseLogLevel("loud").status().message(),
            "log level 'loud' is not one of debug, info, warning, error");
}

}  // namespace
}  // namespace dtrpo::base
