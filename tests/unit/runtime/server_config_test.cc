#include "common/runtime/server_config.h"

#include <gtest/gtest.h>

namespace dtrpo::runtime {
namespace {

TEST(ServerConfigTest, TheDefaultsAreInOrder) {
  EXPECT_TRUE(CheckServerConfig(DefaultServerConfig(), "server").empty());
}

TEST(ServerConfigTest, EveryBadFieldIsNamed) {
  v1::ServerConfig config = DefaultServerConfig();
  config.set_listen("0.0.0.0:80");
  config.set_metrics_listen("nowhere");
  config.set_log_level("loud");
  config.set_drain_timeout_ms(0);
  config.set_max_message_bytes(1);
  config.set_max_threads(0);
  config.mutable_faults()->set_lost_reply_probability(1.5);
  std::vector<std::string> paths;
  for (const FieldProblem& problem : CheckServerConfig(config, "server")) {
    paths.push_back(problem.path);
  }
  EXPECT_EQ(paths,
            (std::vector<std::string>{"server.listen", "server.metrics_listen", "server.log_level",
                                      "server.drain_timeout_ms", "server.max_message_bytes",
                                      "server.max_threads", "server.faults"}));
}

TEST(ServerConfigTest, AnyAddressIsAllowedWhenInsecureIsSaid) {
  v1::ServerConfig config = DefaultServerConfig();
  config.set_listen("0.0.0.0:80");
  config.set_insecure(true);
  config.set_metrics_listen("off");
  EXPECT_TRUE(CheckServerConfig(config, "server").empty());
}

}  // namespace
}  // namespace dtrpo::runtime
