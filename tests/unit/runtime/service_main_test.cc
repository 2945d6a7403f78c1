#include "common/runtime/service_main.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"

namespace dtrpo::runtime {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ServiceMainTest : public testing::Test {
 protected:
  // The exit code of a replay service whose run() is `run_`.
  int Main(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "dtrpo-replay");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    v1::ReplayConfig defaults;
    defaults.set_engine("memory");
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    const int code = ServiceMain<v1::ReplayConfig>(
        static_cast<int>(argv.size()), argv.data(), "replay", defaults,
        [](const v1::ReplayConfig& config) {
          std::vector<FieldProblem> problems;
          if (config.engine() != "memory") problems.push_back({"engine", "must be memory"});
          return problems;
        },
        run_);
    stderr_ = testing::internal::GetCapturedStderr();
    stdout_ = testing::internal::GetCapturedStdout();
    base::ConfigureLogging("", base::LogLevel::kInfo);
    return code;
  }

  std::string WriteConfig(const std::string& text, const std::string& name = "") {
    const std::string path =
        absl::StrCat(testing::TempDir(), "/service_main_test_", getpid(), name, ".yaml");
    EXPECT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), path, text).ok());
    return path;
  }

  std::function<absl::Status(ServiceHost&, const v1::ReplayConfig&)> run_ =
      [](ServiceHost&, const v1::ReplayConfig&) { return absl::OkStatus(); };
  std::string stdout_, stderr_;
};

TEST_F(ServiceMainTest, PrintsTheConfigurationInEffect) {
  EXPECT_EQ(Main({"--config", WriteConfig("server: {max_threads: 7}"), "--print-config"}), 0);
  EXPECT_THAT(stdout_, HasSubstr("max_threads: 7"));
  EXPECT_THAT(stdout_, HasSubstr("drain_timeout_ms: 10000"));
  EXPECT_THAT(stdout_, HasSubstr("engine: \"memory\""));
}

TEST_F(ServiceMainTest, ThePrintedConfigurationHidesPasswords) {
  const std::string path = WriteConfig("postgres: \"host=db password=s3cret user=replay\"");
  EXPECT_EQ(Main({"--config", path, "--print-config"}), 0);
  EXPECT_THAT(stdout_, HasSubstr("postgres: \"host=db password=*** user=replay\""));
}

TEST_F(ServiceMainTest, ALaterFileReplacesTheFieldsThatItNames) {
  const std::string common = WriteConfig("server: {max_threads: 7, log_level: debug}", "common");
  const std::string own = WriteConfig("max_prefetch_batches: 3\nserver: {max_threads: 9}", "own");
  EXPECT_EQ(Main({"--config", common, "--config", own, "--print-config"}), 0);
  EXPECT_THAT(stdout_, HasSubstr("max_threads: 9"));
  EXPECT_THAT(stdout_, HasSubstr("log_level: \"debug\""));
  EXPECT_THAT(stdout_, HasSubstr("max_prefetch_batches: 3"));
  const std::string wrong = WriteConfig("engine: rocks", "wrong");
  EXPECT_EQ(Main({"--config", wrong, "--config", own}), 2) << "all of it is checked";
  EXPECT_THAT(stderr_, HasSubstr("engine: must be memory"));
}

TEST_F(ServiceMainTest, ABadConfigurationIsOneLineAndExitCode2) {
  const std::string path = WriteConfig("engine: rocks");
  EXPECT_EQ(Main({"--config", path}), 2);
  EXPECT_EQ(stderr_, "dtrpo-replay: " + path + ":1: engine: must be memory\n");
  EXPECT_EQ(Main({"--config", WriteConfig("server: {listen: nonsense}")}), 2);
  EXPECT_EQ(stderr_, "dtrpo-replay: " + path + ":1: server.listen: 'nonsense' is not host:port\n");
  EXPECT_EQ(Main({"--config", "/nonexistent/replay.yaml"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("/nonexistent/replay.yaml"));
  EXPECT_EQ(Main({"--konfig", "x"}), 2);
}

TEST_F(ServiceMainTest, HelpIsNotAnError) {
  EXPECT_EQ(Main({"--help"}), 0);
  EXPECT_THAT(stdout_, HasSubstr("--config"));
}

TEST_F(ServiceMainTest, AFailureIsOneLineAndExitCode1) {
  run_ = [](ServiceHost&, const v1::ReplayConfig&) { return absl::DataLossError("log is broken"); };
  EXPECT_EQ(Main({"--config", WriteConfig("server: {log_level: error}")}), 1);
  EXPECT_EQ(stderr_, "dtrpo-replay: log is broken\n");
}

TEST_F(ServiceMainTest, RunsUntilSigterm) {
  const std::string port_file =
      absl::StrCat(testing::TempDir(), "/service_main_test_", getpid(), ".json");
  run_ = [&](ServiceHost& host, const v1::ReplayConfig&) -> absl::Status {
    DTRPO_RETURN_IF_ERROR(host.Start({}));
    host.SetReady(true);
    EXPECT_THAT(*base::PosixFileSystem()->Read(port_file), StartsWith("{\"role\":\"replay\""));
    EXPECT_EQ(host.name(), "replay-3");
    ::kill(::getpid(), SIGTERM);
    return host.RunUntilStopped();
  };
  EXPECT_EQ(Main({"--name", "replay-3", "--port-file", port_file}), 0);
  EXPECT_THAT(stderr_, HasSubstr(" INFO replay-3 drained"));
}

}  // namespace
}  // namespace dtrpo::runtime
