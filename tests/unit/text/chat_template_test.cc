#include "common/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "common/text/tokenizer.h"
#include "tests/unit/text/golden.h"

namespace dtrpo::text {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::unique_ptr<ChatTemplate> Compile(const std::string& source,
                                      std::map<std::string, std::string> tokens = {}) {
  auto compiled = ChatTemplate::FromSource(source, std::move(tokens), "test.jinja");
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return *std::move(compiled);
}

std::vector<ChatMessage> User(const std::string& content) { return {{"user", content}}; }

TEST(ChatTemplateGoldenTest, RendersAsTransformersDoes) {
  ASSERT_GE(Golden()["rendered"].size(), 40u);
  for (const auto& c : Golden()["rendered"]) {
    const auto tokenizer = Tokenizer::Load(GoldenFolder(c["tokenizer"])).value();
    const auto compiled =
        Compile(Golden()["templates"][std::string(c["template"])], tokenizer->special_tokens());
    const auto rendered =
        compiled->RenderJson(Golden()["chats"][std::string(c["chat"])].dump(),
                             {.add_generation_prompt = c["add_generation_prompt"],
                              .now = absl::FromUnixSeconds(Golden()["now_unix_seconds"])});
    const std::string name = std::string(c["tokenizer"]) + " " + std::string(c["template"]) + " " +
                             std::string(c["chat"]);
    if (c.contains("text")) {
      ASSERT_TRUE(rendered.ok()) << name << ": " << rendered.status();
      EXPECT_EQ(*rendered, c["text"]) << name;
    } else {
      EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << name;
      EXPECT_THAT(rendered.status().message(), HasSubstr(std::string(c["error"]))) << name;
    }
  }
}

TEST(ChatTemplateTest, LoadsTheConfigsTemplate) {
  const auto loaded = ChatTemplate::Load(GoldenFolder("qwen"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::vector<ChatMessage> messages = {{"system", "Short."}, {"user", "47+8="}};
  EXPECT_EQ((*loaded)->Render(messages).value(),
            "<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\n47+8=<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, LoadsAJinjaFileWithTheConfigsTokens) {
  const auto loaded = ChatTemplate::Load(GoldenFolder("llama3"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->Render(User("hi"), {.add_generation_prompt = false}).value(),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
            "Today Date: 01 Jan 1970\n\n<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>");
}

TEST(ChatTemplateTest, SaysWhyTheTemplateRefuses) {
  const auto rendered =
      Compile("{{ raise_exception('roles must alternate') }}")->Render(User("hi"));
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(rendered.status().message(),
              AllOf(HasSubstr("test.jinja"), HasSubstr("roles must alternate")));
}

TEST(ChatTemplateTest, NamesTheFileAndLineOfASyntaxError) {
  const auto compiled = ChatTemplate::FromSource("{{ a }}\n{% if %}", {}, "test.jinja");
  EXPECT_EQ(compiled.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(compiled.status().message(), AllOf(HasSubstr("test.jinja"), HasSubstr(":2")));
}

TEST(ChatTemplateTest, StopsATemplateThatLoops) {
  const auto rendered =
      Compile("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}")
          ->Render(User("hi"));
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(rendered.status().message(), HasSubstr("fuel"));
}

TEST(ChatTemplateTest, RefusesToFillTheWidthThatATemplateClaims) {
  for (const char* source :
       {"{{ '%99999999d' | format(1) }}", "{{ '%.99999999f' | format(1.5) }}",
        "{{ '{:99999999}'.format('a') }}", "{{ '{:99999999999999999999999}'.format('a') }}",
        "{{ 'a' | indent(99999999) }}", "{{ 'a' | indent(width=99999999) }}"}) {
    const auto rendered = Compile(source)->Render(User("hi"));
    EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << source;
    EXPECT_THAT(rendered.status().message(), HasSubstr("a width above 10000")) << source;
  }
  for (const auto& [source, text] : std::vector<std::pair<std::string, std::string>>{
           {"{{ '%03d|%s' | format(7, 'a') }}", "007|a"},
           {"{{ '{:>4}|{name}'.format('a', name='b') }}", "   a|b"},
           {"{{ 'a\nb' | indent(2, true) }}", "  a\n  b"},
           {"{{ 'a\nb' | indent(width=1, first=true) }}", " a\n b"},
           {"{{ 'a\nb' | indent }}", "a\n    b"}}) {
    EXPECT_EQ(Compile(source)->Render(User("hi")).value(), text) << source;
  }
}

TEST(ChatTemplateTest, RefusesMessagesThatAreNone) {
  const auto compiled = Compile("{{ messages[0].role }}");
  for (const char* messages :
       {"", "[]", "{}", "[1]", "[{\"content\": \"x\"}]", "[{\"role\": 1}]"}) {
    const auto rendered = compiled->RenderJson(messages);
    EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << messages;
    EXPECT_THAT(rendered.status().message(), HasSubstr("messages")) << messages;
  }
  EXPECT_EQ(compiled->Render(User("\xff")).status().code(), absl::StatusCode::kInvalidArgument);
}

class ChatTemplateFilesTest : public testing::Test {
 protected:
  void Put(const std::string& name, const std::string& content) {
    ASSERT_TRUE(files_.MakeDirectories("m").ok());
    ASSERT_TRUE(files_.Create("m/" + name).value()->Append(content).ok());
  }
  base::MemoryFileSystem files_;
};

TEST_F(ChatTemplateFilesTest, TakesTheJinjaFileFirst) {
  Put("tokenizer_config.json", R"({"chat_template": "config", "eos_token": "<e>"})");
  EXPECT_EQ(ChatTemplate::Load("m", &files_).value()->Render(User("")).value(), "config");
  Put("chat_template.jinja", "file{{ eos_token }}");
  EXPECT_EQ(ChatTemplate::Load("m", &files_).value()->Render(User("")).value(), "file<e>");
}

TEST_F(ChatTemplateFilesTest, TakesTheDefaultOfNamedTemplates) {
  Put("tokenizer_config.json",
      R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(ChatTemplate::Load("m", &files_).value()->Render(User("")).value(), "d");
}

TEST_F(ChatTemplateFilesTest, NamesWhatIsMissingOrWrong) {
  EXPECT_TRUE(absl::IsNotFound(ChatTemplate::Load("m", &files_).status()));
  Put("tokenizer_config.json", R"({"chat_template": 5})");
  const auto loaded = ChatTemplate::Load("m", &files_);
  EXPECT_THAT(loaded.status().message(),
              AllOf(HasSubstr("m/tokenizer_config.json"), HasSubstr("'chat_template'")));
  Put("tokenizer_config.json", R"({"chat_template": "{% endif %}"})");
  EXPECT_THAT(ChatTemplate::Load("m", &files_).status().message(),
              AllOf(HasSubstr("m/tokenizer_config.json"), HasSubstr("'chat_template'")));
}

}  // namespace
}  // namespace dtrpo::text
