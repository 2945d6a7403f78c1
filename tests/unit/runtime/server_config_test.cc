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

TEST(ServerConfigTest, TlsAllowsAnyAddressForGrpcAndMetricsNeedTheirOwnFlag) {
  v1::ServerConfig config = DefaultServerConfig();
  config.set_listen("0.0.0.0:80");
  config.set_metrics_listen("0.0.0.0:81");
  config.set_health_listen("0.0.0.0:82");
  config.mutable_tls()->set_certificate("tls.crt");
  config.mutable_tls()->set_key("tls.key");
  config.mutable_tls()->set_ca("ca.crt");
  auto problems = CheckServerConfig(config, "server");
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path, "server.metrics_listen");
  config.set_insecure_metrics(true);
  EXPECT_TRUE(CheckServerConfig(config, "server").empty());
  config.mutable_tls()->clear_key();
  problems = CheckServerConfig(config, "server");
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].path, "server.tls");
  EXPECT_EQ(problems[1].path, "server.listen");
}

TEST(ServerConfigTest, EachLimitHasADefaultAndBounds) {
  v1::ServerConfig config = DefaultServerConfig();
  EXPECT_TRUE(CheckServerConfig(config, "server").empty());
  const google::protobuf::Descriptor* limits = v1::ServerLimits::descriptor();
  for (int i = 0; i < limits->field_count(); ++i) {
    const auto* field = limits->field(i);
    v1::ServerConfig bad = config;
    v1::ServerLimits* changed = bad.mutable_limits();
    ASSERT_TRUE(changed->GetReflection()->HasField(*changed, field)) << field->name();
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32) {
      changed->GetReflection()->SetInt32(changed, field, 0);
    } else {
      changed->GetReflection()->SetInt64(changed, field, 0);
    }
    const auto problems = CheckServerConfig(bad, "server");
    ASSERT_EQ(problems.size(), 1u) << field->name();
    EXPECT_EQ(problems[0].path, "server.limits." + field->name());
  }
}

}  // namespace
}  // namespace dtrpo::runtime
