// Whatever is wrong with what a user hands in ends in one line that names the file and the field,
// and a non-zero exit.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/base/atomic_file.h"
#include "common/runtime/config_loader.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo {
namespace {

using ::testing::HasSubstr;

class BadInputTest : public LoopTest {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1)); }

  static std::string Read(const std::string& path) {
    const auto content = base::PosixFileSystem()->Read(path);
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }
  // Not in place: programs map these files.
  static void Write(const std::string& path, const std::string& content) {
    EXPECT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), path, content).ok());
  }

  // A copy of the base model with one file changed and without the marker that would tell of it.
  template <typename Change>
  std::string ModelWith(const std::string& file, const Change& change) {
    const std::string model = absl::StrCat(folder_, "/model_", ++models_);
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json",
                             "tokenizer_config.json", "added_tokens.json"}) {
      std::string content = Read(task_.base() + "/" + name);
      if (name == file) content = change(content);
      EXPECT_TRUE(base::PosixFileSystem()->MakeDirectories(model).ok());
      Write(model + "/" + name, content);
    }
    return model;
  }
  template <typename Change>
  std::string ModelWithConfig(const Change& change) {
    return ModelWith("config.json", [&](const std::string& content) {
      nlohmann::json config = nlohmann::json::parse(content);
      change(config);
      return config.dump();
    });
  }

  support::ProgramResult Generate(const std::string& model, const std::string& prompts) {
    return Run({"dtrpo", "generate", "--model", model, "--prompts", prompts, "--output",
                folder_ + "/out.jsonl", "--max-new-tokens", "8", "--threads", "1"});
  }

  static void ExpectOneLine(const support::ProgramResult& result,
                            const std::vector<std::string>& words) {
    EXPECT_NE(result.exit_code, 0) << result.output;
    EXPECT_LT(result.exit_code, 126) << "a crash: " << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
    for (const std::string& word : words) EXPECT_THAT(result.output, HasSubstr(word));
  }

  int models_ = 0;
};

TEST_F(BadInputTest, GoodInputWorks) {
  const support::ProgramResult result =
      Generate(ModelWith("", [](const std::string& content) { return content; }), task_.heldout());
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(BadInputTest, TruncatedTensorFileIsNamed) {
  const std::string model = ModelWith("model.safetensors", [](const std::string& content) {
    return content.substr(0, content.size() - 100);
  });
  ExpectOneLine(Generate(model, task_.heldout()), {model + "/model.safetensors"});
}

TEST_F(BadInputTest, MissingConfigKeyIsNamed) {
  const std::string model =
      ModelWithConfig([](nlohmann::json& config) { config.erase("hidden_size"); });
  ExpectOneLine(Generate(model, task_.heldout()), {model + "/config.json", "hidden_size"});
}

TEST_F(BadInputTest, TensorOfTheWrongShapeIsNamed) {
  const std::string model =
      ModelWithConfig([](nlohmann::json& config) { config["intermediate_size"] = 96; });
  ExpectOneLine(Generate(model, task_.heldout()),
                {model + "/model.safetensors", "model.layers.0.mlp.up_proj.weight", "96", "64"});
}

TEST_F(BadInputTest, NumbersThatAreNotFiniteAreNamed) {
  const std::string model = ModelWith("model.safetensors", [](std::string content) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(content.data() + content.size() - sizeof(nan), &nan, sizeof(nan));
    return content;
  });
  ExpectOneLine(Generate(model, task_.heldout()), {model + "/model.safetensors", "weight"});
}

TEST_F(BadInputTest, MissingModelFolderIsNamed) {
  ExpectOneLine(Generate(folder_ + "/nowhere", task_.heldout()), {folder_ + "/nowhere"});
}

TEST_F(BadInputTest, PromptThatIsTooLongIsNamed) {
  const std::string prompts = folder_ + "/long.jsonl";
  Write(prompts, absl::StrCat(R"({"id": "short", "prompt": "a"})", "\n",
                              R"({"id": "long", "prompt": ")", std::string(2000, 'x'), "\"}\n"));
  ExpectOneLine(Generate(task_.base(), prompts),
                {prompts + ":2", "too long", "max_position_embeddings"});
}

TEST_F(BadInputTest, UnknownFieldOfAServiceConfigurationIsNamed) {
  const std::string config = folder_ + "/replay.yaml";
  Write(config, "server:\n  listen: \"127.0.0.1:0\"\n  lissten: \"127.0.0.1:0\"\n");
  ExpectOneLine(Run({"dtrpo-replay", "--config", config}), {config + ":3", "server.lissten"});
}

TEST_F(BadInputTest, PortInUseIsNamed) {
  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(taken, 1), 0);
  ASSERT_EQ(getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string listen = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  for (const char* field : {"listen", "metrics_listen"}) {
    const std::string config = absl::StrCat(folder_, "/", field, ".yaml");
    Write(config, absl::StrCat("server:\n  ", field, ": \"", listen, "\"\n"));
    ExpectOneLine(Run({"dtrpo-replay", "--config", config}), {listen, "in use"});
  }
  close(taken);
}

class BadJobTest : public BadInputTest {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(MakeTask()); }  // a base that finds pairs
};

// What only the coordinator or the workers can see.
TEST_F(BadJobTest, BadJobsAreRefusedByNameAndField) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const std::string file = folder_ + "/job.yaml";
  const auto submit = [&](const std::string& yaml) {
    Write(file, yaml);
    return Run({"dtrpoctl", "--address", cluster_->coordinator(), "submit", file, "--watch"},
               absl::Seconds(60));
  };
  const v1::JobSpec good = task_.Job("toy", /*steps=*/4);

  std::string yaml = runtime::PrintConfig(good);
  ExpectOneLine(submit(yaml + "objektive:\n  beta: 1\n"), {file + ":", "objektive"});
  ExpectOneLine(submit(yaml + "training:\n  steps: 5\n"), {file + ":", "training"});

  v1::JobSpec bad = good;
  bad.mutable_model()->set_path(folder_ + "/nowhere");
  ExpectOneLine(submit(runtime::PrintConfig(bad)), {"model.path", folder_ + "/nowhere"});

  bad = good;
  bad.mutable_data()->set_prompts(folder_ + "/nothing.jsonl");
  ExpectOneLine(submit(runtime::PrintConfig(bad)), {"data.prompts", folder_ + "/nothing.jsonl"});

  bad = good;
  bad.mutable_data()->set_max_prompt_tokens(20);
  ExpectOneLine(submit(runtime::PrintConfig(bad)),
                {task_.prompts() + ":", "data.max_prompt_tokens is 20"});

  bad = good;
  bad.mutable_training()->set_learning_rate(-1);
  ExpectOneLine(submit(runtime::PrintConfig(bad)), {"training.learning_rate"});

  // Weights are read by the workers: such a job is accepted, and fails with the reason.
  bad = good;
  bad.mutable_model()->set_path(ModelWith("model.safetensors", [](std::string content) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(content.data() + content.size() - sizeof(nan), &nan, sizeof(nan));
    return content;
  }));
  const support::ProgramResult told = submit(runtime::PrintConfig(bad));
  EXPECT_EQ(told.exit_code, ctl::kJobFailed) << told.output;
  EXPECT_THAT(told.output, HasSubstr(bad.model().path() + "/model.safetensors"));

  // And none of this has hurt anybody.
  EXPECT_EQ(submit(yaml).exit_code, ctl::kOk);
  for (const auto& member : cluster_->members()) EXPECT_EQ(member.restarts, 0) << member.name;
}

}  // namespace
}  // namespace dtrpo
