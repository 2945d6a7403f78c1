#include "common/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/simulated_clock.h"

namespace dtrpo::base {
namespace {

TEST(BoundedQueueTest, KeepsTheOrderAndMovesItems) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  EXPECT_EQ(**queue.Pop(absl::InfiniteFuture()), 1);
  EXPECT_EQ(**queue.TryPop(), 2);
  EXPECT_FALSE(queue.TryPop().has_value());
}

TEST(BoundedQueueTest, TryPushOnAFullQueueLeavesTheItem) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  ASSERT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  auto second = std::make_unique<int>(2);
  EXPECT_FALSE(queue.TryPush(std::move(second)));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(*second, 2);
  EXPECT_EQ(queue.size(), 1u);
}

TEST(BoundedQueueTest, WaitsEndAtTheDeadlineOfTheClock) {
  SimulatedClock clock;
  BoundedQueue<int> queue(1, &clock);
  const absl::Time deadline = clock.Now() + absl::Hours(1);
  std::thread consumer(
      [&] { EXPECT_EQ(queue.Pop(deadline).status().code(), absl::StatusCode::kDeadlineExceeded); });
  ASSERT_TRUE(clock.WaitForWaiters(1));
  clock.Advance(absl::Hours(1));
  consumer.join();

  ASSERT_TRUE(queue.TryPush(1));
  EXPECT_EQ(queue.Push(2, clock.Now()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queue.size(), 1u);
}

TEST(BoundedQueueTest, CloseWakesWaitersAndLetsTheRestBePopped) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.TryPush(1));
  std::thread producer([&] {
    EXPECT_EQ(queue.Push(2, absl::InfiniteFuture()).code(), absl::StatusCode::kCancelled);
  });
  queue.Close();
  producer.join();
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(*queue.Pop(absl::InfiniteFuture()), 1);
  EXPECT_EQ(queue.Pop(absl::InfiniteFuture()).status().code(), absl::StatusCode::kCancelled);
}

TEST(BoundedQueueTest, ManyProducersAndConsumersPassEveryItemOnce) {
  constexpr int kThreads = 3, kItems = 500;
  BoundedQueue<int> queue(4);
  std::atomic<int> sum{0}, popped{0};
  std::vector<std::thread> producers, consumers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&] {
      for (int i = 1; i <= kItems; ++i) EXPECT_TRUE(queue.Push(i, absl::InfiniteFuture()).ok());
    });
    consumers.emplace_back([&] {
      while (true) {
        absl::StatusOr<int> item = queue.Pop(absl::InfiniteFuture());
        if (!item.ok()) return;
        sum += *item;
        ++popped;
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(popped, kThreads * kItems);
  EXPECT_EQ(sum, kThreads * kItems * (kItems + 1) / 2);
}

}  // namespace
}  // namespace dtrpo::base
