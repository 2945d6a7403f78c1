#include <gtest/gtest.h>

#include <memory>

#include "common/base/check.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"

namespace dtrpo::base {
namespace {

absl::StatusOr<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError(absl::StrCat(value, " is odd"));
  return std::make_unique<int>(value / 2);
}

absl::StatusOr<int> Quarter(int value) {
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<int> half, Half(value));
  DTRPO_ASSIGN_OR_RETURN(auto quarter, Annotate(Half(*half), "the half of ", value));
  return *quarter;
}

absl::Status CheckEven(int value) {
  DTRPO_RETURN_IF_ERROR(Half(value).status());
  return absl::OkStatus();
}

TEST(StatusMacrosTest, PassValuesAndReturnErrors) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(3).status(), absl::InvalidArgumentError("3 is odd"));
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("the half of 6: 3 is odd"));
  EXPECT_TRUE(CheckEven(2).ok());
  EXPECT_FALSE(CheckEven(1).ok());
}

TEST(StatusMacrosTest, AnnotateLeavesOkAlone) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "while reading").ok());
}

TEST(CheckTest, AHoldingCheckDoesNothing) {
  DTRPO_CHECK(true) << "not printed";
  DTRPO_CHECK_EQ(1 + 1, 2) << "not printed";
  DTRPO_CHECK_OK(absl::OkStatus());
  DTRPO_CHECK_OK(Half(2));
}

TEST(CheckDeathTest, AFailedCheckPrintsConditionValuesAndMessage) {
  EXPECT_DEATH(DTRPO_CHECK(1 > 2) << "block " << 7, "status_test.cc:.*1 > 2 block 7");
  EXPECT_DEATH(DTRPO_CHECK_LT(3, 2) << "rows", "3 < 2 \\(3 vs. 2\\) ?rows");
  EXPECT_DEATH(DTRPO_CHECK_OK(Half(1)), "Half\\(1\\) is OK \\(INVALID_ARGUMENT: 1 is odd\\)");
}

TEST(CheckTest, DoesNotCaptureAnElse) {
  bool reached = false;
  if (false)
    DTRPO_CHECK(true);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace dtrpo::base
