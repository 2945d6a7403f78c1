#include "common/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/memory_file_system.h"
#include "tests/unit/checkpoint/fixtures.h"

namespace dtrpo::checkpoint {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Write(const std::vector<TensorView>& tensors) {
  base::MemoryFileSystem files;
  {
    const auto out = files.Create("w").value();
    const absl::Status status = AppendSafetensors(out.get(), "w", tensors);
    EXPECT_TRUE(status.ok()) << status;
  }
  return files.Read("w").value();
}

TEST(SafetensorsTest, ReadsWhatItWrote) {
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6}, bias = {-0.5f};
  const std::string bytes_u8 = "abc";
  const TensorView byte_view = {"a.bytes", DType::kU8, {3}, bytes_u8};
  const std::string bytes = Write({byte_view, FloatView("z.weight", {2, 3}, weights),
                                   FloatView("scalar", {}, bias), FloatView("empty", {0, 7}, {})});
  const auto file = SafetensorsFile::FromBytes(bytes, "w");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 4u);
  EXPECT_THAT((*file)->metadata(), ElementsAre(std::make_pair("format", "pt")));
  const TensorView* weight = (*file)->Find("z.weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_THAT(weight->shape, ElementsAre(2, 3));
  EXPECT_EQ(weight->dtype, DType::kF32);
  EXPECT_EQ(weight->data, FloatView("", {}, weights).data);
  EXPECT_EQ((*file)->Find("a.bytes")->data, absl::MakeConstSpan(bytes_u8));
  EXPECT_TRUE((*file)->Find("scalar")->shape.empty());
  EXPECT_EQ((*file)->Find("empty")->data.size(), 0u);
  EXPECT_EQ((*file)->Find("z"), nullptr);
}

TEST(SafetensorsTest, AlignsEveryTensorToItsElement) {
  const std::string odd = "abc";
  const std::vector<double> doubles = {1.5};
  const std::vector<float> floats = {1};
  const TensorView byte_view = {"a", DType::kU8, {3}, odd};
  const TensorView double_view = {
      "b", DType::kF64, {1}, absl::MakeConstSpan(reinterpret_cast<const char*>(doubles.data()), 8)};
  const std::string bytes = Write({byte_view, double_view, FloatView("c", {1}, floats)});
  const auto file = SafetensorsFile::FromBytes(bytes, "w").value();
  const char* const start = file->tensors().front().data.data();
  for (const TensorView& tensor : file->tensors()) {
    EXPECT_EQ((tensor.data.data() - start) % DTypeSizeBytes(tensor.dtype), 0) << tensor.name;
  }
  // The data begins on a multiple of 8 of the file.
  EXPECT_EQ((bytes.size() - (3 + 8 + 4)) % 8, 0u);
}

TEST(SafetensorsTest, TwoWritesOfTheSameTensorsAreEqualBytes) {
  const std::vector<float> data = {1, 2};
  const TensorView a = FloatView("a", {2}, data), b = FloatView("b", {2}, data);
  EXPECT_EQ(Write({a, b}), Write({b, a}));
}

// "{...}" with one F32 tensor "t" of shape [2, 2], 16 bytes of data, and `change` applied.
std::string ErrorOf(const std::string& header, size_t data_bytes = 16) {
  const auto file =
      SafetensorsFile::FromBytes(SafetensorsBytes(header, std::string(data_bytes, 'x')), "f.st");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << header;
  EXPECT_THAT(file.status().message(), HasSubstr("f.st")) << header;
  return std::string(file.status().message());
}

constexpr char kGood[] = R"({"t":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";

TEST(SafetensorsTest, AcceptsTheHandMadeFileThatTheFaultsAreMadeOf) {
  EXPECT_TRUE(SafetensorsFile::FromBytes(SafetensorsBytes(kGood, std::string(16, 'x')), "f").ok());
  EXPECT_TRUE(SafetensorsFile::FromBytes(SafetensorsBytes("{}", ""), "f").ok());
}

TEST(SafetensorsTest, RefusesATruncatedFileAtEveryLength) {
  const std::string whole = SafetensorsBytes(kGood, std::string(16, 'x'));
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto file = SafetensorsFile::FromBytes(whole.substr(0, size), "f.st");
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(file.status().message(), HasSubstr("f.st")) << size;
  }
}

TEST(SafetensorsTest, RefusesAHeaderLengthBeyondTheFile) {
  for (const uint64_t length : {uint64_t{100}, uint64_t{kMaxHeaderBytes + 1}, ~uint64_t{0}}) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xff));
    const auto file = SafetensorsFile::FromBytes(bytes + "{}", "f.st");
    EXPECT_THAT(file.status().message(), AllOf(HasSubstr("f.st"), HasSubstr("header length")));
  }
}

TEST(SafetensorsTest, NamesTensorAndFieldOfEachFault) {
  const auto tensor = [](const std::string& body) { return "{\"t\":{" + body + "}}"; };
  EXPECT_THAT(ErrorOf(tensor(R"("shape":[2,2],"data_offsets":[0,16])")),
              AllOf(HasSubstr("'t'"), HasSubstr("'dtype'"), HasSubstr("missing")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F31","shape":[2,2],"data_offsets":[0,16])")),
              AllOf(HasSubstr("'t'"), HasSubstr("'dtype'"), HasSubstr("F31")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","data_offsets":[0,16])")),
              AllOf(HasSubstr("'shape'"), HasSubstr("missing")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,16])")),
              AllOf(HasSubstr("'shape'"), HasSubstr("needs 24 bytes"), HasSubstr("hold 16")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,-2],"data_offsets":[0,16])")),
              HasSubstr("'shape'"));
  EXPECT_THAT(
      ErrorOf(tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])")),
      AllOf(HasSubstr("'shape'"), HasSubstr("overflows")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,2])")),
              AllOf(HasSubstr("'data_offsets'"), HasSubstr("missing")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,2],"data_offsets":[16,0])")),
              HasSubstr("'data_offsets'"));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,2],"data_offsets":[8,24])")),
              AllOf(HasSubstr("'data_offsets'"), HasSubstr("outside the 16 bytes")));
  EXPECT_THAT(ErrorOf(tensor(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,16],"x":1)")),
              HasSubstr("'x'"));
  EXPECT_THAT(ErrorOf(R"({"t":5})"), HasSubstr("'t'"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__":{"a":1}})", 0), HasSubstr("__metadata__.a"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf("{\"t\":"), HasSubstr("line 1"));
}

TEST(SafetensorsTest, RefusesTensorsThatOverlapOrLeaveHoles) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[8],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[8],"data_offsets":)" + b + "}}";
  };
  EXPECT_THAT(ErrorOf(two("[0,8]", "[4,12]"), 12),
              AllOf(HasSubstr("'b'"), HasSubstr("'data_offsets'"), HasSubstr("overlaps")));
  EXPECT_THAT(ErrorOf(two("[0,8]", "[0,8]"), 8), HasSubstr("overlaps"));
  EXPECT_THAT(ErrorOf(two("[0,8]", "[9,17]"), 17), AllOf(HasSubstr("'b'"), HasSubstr("hole")));
  EXPECT_THAT(ErrorOf(two("[1,9]", "[9,17]"), 17), AllOf(HasSubstr("'a'"), HasSubstr("hole")));
  EXPECT_THAT(ErrorOf(two("[0,8]", "[8,16]"), 20), HasSubstr("end at 16"));
}

TEST(SafetensorsTest, RefusesATensorThatIsThereTwice) {
  EXPECT_THAT(ErrorOf(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                      R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                      1),
              AllOf(HasSubstr("'t'"), HasSubstr("twice")));
}

TEST(SafetensorsTest, RefusesNestingThatWouldEatMemory) {
  EXPECT_THAT(ErrorOf("{\"t\":" + std::string(100000, '[') + std::string(100000, ']') + "}"),
              HasSubstr("nested"));
}

TEST(SafetensorsTest, MapsFilesOfTheDisk) {
  const std::string path = testing::TempDir() + "/safetensors_test.safetensors";
  Put(base::PosixFileSystem(), path, SafetensorsBytes(kGood, std::string(16, 'x')));
  const auto file = SafetensorsFile::Map(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Find("t")->data, absl::MakeConstSpan(std::string(16, 'x')));
  Put(base::PosixFileSystem(), path + ".empty", "");
  EXPECT_THAT(SafetensorsFile::Map(path + ".empty").status().message(), HasSubstr("too short"));
  EXPECT_TRUE(absl::IsNotFound(SafetensorsFile::Map(path + ".missing").status()));
  EXPECT_EQ(SafetensorsFile::Map(testing::TempDir()).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const char* suffix : {"", ".empty"}) {
    ASSERT_TRUE(base::PosixFileSystem()->RemoveFile(path + suffix).ok());
  }
}

TEST(SafetensorsWriterTest, RefusesDataThatDoesNotFit) {
  base::MemoryFileSystem files;
  const auto out = files.Create("w").value();
  const auto writer =
      SafetensorsWriter::Create(out.get(), "w", {{"b", DType::kF32, {1}}, {"a", DType::kF32, {2}}})
          .value();
  EXPECT_EQ(writer->order()[0].name, "a");
  const std::string four(4, 'x'), eight(8, 'x');
  EXPECT_THAT(writer->Append("b", four).message(), HasSubstr("'a' comes first"));
  EXPECT_THAT(writer->Append("a", four).message(), HasSubstr("4 bytes of data for F32 [2]"));
  EXPECT_TRUE(writer->Append("a", eight).ok());
  EXPECT_THAT(writer->Finish().message(), HasSubstr("'b'"));
  EXPECT_TRUE(writer->Append("b", four).ok());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_FALSE(writer->Append("c", four).ok());
  EXPECT_THAT(
      SafetensorsWriter::Create(out.get(), "w", {{"a", DType::kU8, {1}}, {"a"}}).status().message(),
      HasSubstr("'a': the name is taken"));
}

}  // namespace
}  // namespace dtrpo::checkpoint
