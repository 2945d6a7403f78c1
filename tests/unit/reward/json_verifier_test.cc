#include "common/reward/json_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

constexpr char kSchema[] = R"({"type": "object", "required": ["n"], "additionalProperties": false,
                               "properties": {"n": {"type": "integer", "minimum": 0}}})";

Judgement JudgeJson(const std::string& text) {
  return *(*MakeJsonVerifier(kSchema))->Judge({text, true, 1}, "");
}

TEST(JsonVerifierTest, TheTableOfHardCases) {
  constexpr struct {
    const char* text;
    double reward;
    const char* reason;
  } kCases[] = {
      {R"({"n": 3})", 1, "fits"},
      {R"(  {"n": 3}
      )",
       1, "fits"},
      {"Here:\n```json\n{\"n\": 3}\n```\n", 1, "fits"},
      {"```\n{\"n\": 1}\n``` and ```json\n{\"n\": -1}\n```", 0, "n"},
      {R"({"n": -1})", 0, "<root>[n]: "},
      {R"({"n": 1.5})", 0, "<root>[n]: "},
      {R"({"n": "3"})", 0, "<root>[n]: "},
      {R"({})", 0, "Missing required property 'n'"},
      {R"({"n": 3, "m": 1})", 0, "m"},
      {R"([3])", 0, "type"},
      {R"({"n": 3} trailing)", 0, "is no JSON"},
      {R"({"n": 3)", 0, "is no JSON"},
      {R"({'n': 3})", 0, "is no JSON"},
      {R"({"n": NaN})", 0, "is no JSON"},
      {"", 0, "is no JSON"},
  };
  for (const auto& c : kCases) {
    const Judgement judgement = JudgeJson(c.text);
    EXPECT_EQ(judgement.reward, c.reward) << c.text << ": " << judgement.reason;
    EXPECT_THAT(judgement.reason, HasSubstr(c.reason)) << c.text;
  }
}

TEST(JsonVerifierTest, DepthAndSizeAreBounded) {
  EXPECT_THAT(JudgeJson(std::string(100000, '[')).reason, HasSubstr("is no JSON"));
  EXPECT_THAT(JudgeJson(std::string(500, '[') + std::string(500, ']')).reason,
              HasSubstr("is no JSON"));
  EXPECT_THAT(JudgeJson("{" + std::string(2 << 20, ' ') + "}").reason, HasSubstr("1 MiB"));
}

TEST(JsonVerifierTest, ASchemaThatMakesNoSenseIsRefused) {
  for (const char* schema :
       {"", "{", "[]", R"({"type": 3})", R"({"$ref": "file:///etc/passwd"})"}) {
    EXPECT_EQ(MakeJsonVerifier(schema).status().code(), absl::StatusCode::kInvalidArgument)
        << schema;
  }
}

}  // namespace
}  // namespace dtrpo::reward
