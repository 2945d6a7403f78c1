#include "common/model/torch_boundary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <new>
#include <type_traits>

namespace dtrpo::model {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(TorchBoundaryTest, KeepsWhatTheBodyReturns) {
  EXPECT_EQ(*TorchBoundary([] { return 5; }), 5);
  EXPECT_TRUE(TorchBoundary([] {}).ok());
  const absl::StatusOr<int> flat = TorchBoundary([]() -> absl::StatusOr<int> { return 6; });
  EXPECT_EQ(*flat, 6);
  EXPECT_EQ(TorchBoundary([] { return absl::NotFoundError("x"); }).code(),
            absl::StatusCode::kNotFound);
}

TEST(TorchBoundaryTest, TurnsTorchErrorsIntoOneLine) {
  const auto result = TorchBoundary([] { return torch::zeros({2, 3}).mm(torch::zeros({2, 3})); });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(result.status().message()),
              testing::AllOf(HasSubstr("cannot be multiplied"), Not(HasSubstr("frame #"))));
}

TEST(TorchBoundaryTest, TellsMemoryFromOtherTroubles) {
  EXPECT_EQ(TorchBoundary([] { throw std::bad_alloc(); }).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(TorchBoundary([] { throw 3; }).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace dtrpo::model
