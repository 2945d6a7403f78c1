#include "common/rpc/fault_injector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace dtrpo::rpc {
namespace {

constexpr char kInsert[] = "/dtrpo.v1.ReplayService/Insert";
constexpr char kGetBatch[] = "/dtrpo.v1.ReplayService/GetBatch";

std::vector<Fault> Fates(FaultInjector& injector, const char* method, int calls) {
  std::vector<Fault> fates;
  for (int i = 0; i < calls; ++i) fates.push_back(injector.Next(method));
  return fates;
}

TEST(FaultInjectorTest, TheSeedDecidesTheFateOfEveryCall) {
  const FaultOptions options = {
      .lost_request_probability = 0.3, .lost_reply_probability = 0.3, .seed = 5};
  FaultInjector a(options), b(options);
  FaultOptions other_seed = options;
  other_seed.seed = 6;
  FaultInjector c(other_seed);
  const std::vector<Fault> fates = Fates(a, kInsert, 100);
  // Calls of other methods in between change nothing.
  Fates(b, kGetBatch, 7);
  EXPECT_EQ(fates, Fates(b, kInsert, 100));
  EXPECT_NE(fates, Fates(c, kInsert, 100));
}

TEST(FaultInjectorTest, FaultsComeAsOftenAsAsked) {
  FaultInjector injector(
      {.lost_request_probability = 0.2, .lost_reply_probability = 0.1, .seed = 1});
  const std::vector<Fault> fates = Fates(injector, kInsert, 10000);
  EXPECT_NEAR(std::count(fates.begin(), fates.end(), Fault::kLostRequest), 2000, 200);
  EXPECT_NEAR(std::count(fates.begin(), fates.end(), Fault::kLostReply), 1000, 150);
}

TEST(FaultInjectorTest, OnlyTheNamedMethodsOfOursAreHit) {
  FaultInjector injector({.lost_request_probability = 1, .methods = {"ReplayService/Insert"}});
  EXPECT_EQ(injector.Next(kInsert), Fault::kLostRequest);
  EXPECT_EQ(injector.Next(kGetBatch), Fault::kNone);
  FaultInjector all({.lost_request_probability = 1});
  EXPECT_EQ(all.Next(kGetBatch), Fault::kLostRequest);
  EXPECT_EQ(all.Next("/grpc.health.v1.Health/Check"), Fault::kNone);
}

}  // namespace
}  // namespace dtrpo::rpc
