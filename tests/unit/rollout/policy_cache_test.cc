#include "services/rollout/policy_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <thread>

#include "common/base/check.h"
#include "common/model/compute_dtype.h"
#include "common/training/training_state.h"
#include "common/training/weights_image.h"
#include "services/rollout/base_weights.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::rollout {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PolicyCacheTest : public ::testing::Test {
 protected:
  PolicyCacheTest() : path_(support::TestFolder() + "/base") {
    support::WriteTinyCheckpoint(path_);
  }

  static checkpoint::CheckpointFolder Open(const std::string& path) {
    auto folder = checkpoint::CheckpointFolder::Open(path);
    DTRPO_CHECK_OK(folder);
    return *std::move(folder);
  }

  // What a learner would push as this version: random weights of `seed`.
  std::shared_ptr<const weights::Image> Version(int64_t version, uint64_t seed,
                                                int64_t generation = 0) const {
    const auto model = model::Transformer::Random(Open(path_).descriptor(), seed, {});
    DTRPO_CHECK_OK(model);
    const auto image = training::MakeImage(**model, "job", version, generation);
    DTRPO_CHECK_OK(image);
    return *image;
  }

  static torch::Tensor Logits(const model::Transformer& model) {
    torch::NoGradGuard no_grad;
    model::RowBatch rows;
    rows.token_ids = {1, 5, 9, 39};
    rows.positions = {0, 1, 2, 3};
    rows.segments = {{0, 4, {{0, 4}}}};
    return model.Head(model.Forward(rows));
  }

  std::shared_ptr<const model::Transformer> Get(
      PolicyCache& cache, const std::shared_ptr<const weights::Image>& image) {
    const auto policy = cache.Get(image);
    EXPECT_TRUE(policy.ok()) << policy.status();
    return policy.value_or(nullptr);
  }

  const std::string path_;
};

TEST_F(PolicyCacheTest, TheBaseImageIsVersionZeroAsTheLearnerRegistersIt) {
  const auto base = LoadBase(Open(path_), "job", "auto");
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ(base->model, nullptr);
  const auto learners = training::MakeImage(*support::LoadModel(path_, true), "job", 0, 0);
  EXPECT_TRUE(weights::SameBits(base->image->manifest(), (*learners)->manifest()));
  PolicyCache cache(Open(path_).descriptor());
  EXPECT_TRUE(torch::equal(Logits(*Get(cache, base->image)), Logits(*support::LoadModel(path_))));
}

// What the learner pushes as version 0 of the folder at `path`.
std::shared_ptr<const weights::Image> LearnersImage(const std::string& path, torch::Dtype dtype) {
  auto trained = training::TrainedModel::Create(support::LoadModel(path, true), dtype);
  EXPECT_TRUE(trained.ok()) << trained.status();
  return training::MakeImage(trained->model(), "job", 0, 0).value();
}

// Adapters and groups alike: version 0 and later ones hold what is trained, and the policy is the
// learner's model to the last bit.
TEST_F(PolicyCacheTest, AVersionOfTrainedPartsIsTheLearnersModelToTheLastBit) {
  const std::vector<model::TrainedParts> parts = {
      {.patterns = {"*.mlp.*", "*.o_proj.weight"}},
      {.patterns = {"model.embed_tokens.weight"}},  // the tied head too
      {.lora = {.rank = 2}, .seed = 5},
      {.lora = {.rank = 3, .alpha = 5, .targets = {"q_proj", "mlp.up_proj"}}}};
  for (const model::TrainedParts& part : parts) {
    for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) {
      const std::string what = model::Describe(part);
      const std::string word(model::DtypeName(dtype));
      const auto base = LoadBase(Open(path_), "job", word, part);
      ASSERT_TRUE(base.ok()) << base.status();
      auto learner = training::TrainedModel::Load(Open(path_), {.dtype = dtype, .parts = part});
      ASSERT_TRUE(learner.ok()) << learner.status();
      const auto zero = training::MakeImage(*learner, "job", 0, 0);
      EXPECT_TRUE(weights::SameBits(base->image->manifest(), (*zero)->manifest())) << what;
      EXPECT_LT(base->image->bytes().size(),
                LoadBase(Open(path_), "job", word)->image->bytes().size());

      PolicyCache cache(Open(path_).descriptor(), base->model, base->adapter_scale);
      const auto plain = model::Transformer::Load(Open(path_), {.dtype = dtype});
      const torch::Tensor before = Logits(**plain);
      EXPECT_TRUE(torch::equal(Logits(*Get(cache, base->image)), before)) << what;
      {
        torch::NoGradGuard no_grad;
        for (auto& [name, tensor] : learner->trained()) tensor.add_(0.125);
      }
      const auto one = training::MakeImage(*learner, "job", 1, 0);
      const torch::Tensor after = Logits(*Get(cache, *one));
      EXPECT_TRUE(torch::equal(after, Logits(learner->model()))) << what;
      EXPECT_FALSE(torch::equal(after, before)) << what;
      EXPECT_TRUE(torch::equal(Logits(*Get(cache, base->image)), before)) << what;  // still held
    }
  }
}

TEST_F(PolicyCacheTest, APatternOrTargetThatMatchesNothingIsRefusedByName) {
  const auto pattern = LoadBase(Open(path_), "job", "auto", {.patterns = {"*.mlp.*", "*.mpl.*"}});
  EXPECT_TRUE(absl::IsInvalidArgument(pattern.status())) << pattern.status();
  EXPECT_THAT(std::string(pattern.status().message()),
              AllOf(HasSubstr("'*.mpl.*'"), HasSubstr("model.embed_tokens.weight")));
  const auto target =
      LoadBase(Open(path_), "job", "auto", {.lora = {.rank = 2, .targets = {"q_prj"}}});
  EXPECT_TRUE(absl::IsInvalidArgument(target.status())) << target.status();
  EXPECT_THAT(std::string(target.status().message()),
              AllOf(HasSubstr("'q_prj'"), HasSubstr("model.layers.0.self_attn.q_proj")));
}

TEST_F(PolicyCacheTest, VersionZeroHasTheLearnersBitsInEveryDtypeAndBfloat16IsHalfTheBytes) {
  const checkpoint::CheckpointFolder folder = Open(path_);
  const auto small =
      model::Transformer::Random(folder.descriptor(), 4, {.dtype = torch::kBFloat16});
  ASSERT_TRUE(small.ok());
  const std::string path = path_ + "-bf16";
  ASSERT_TRUE(
      training::WriteTrainingCheckpoint(base::PosixFileSystem(), path, **small, folder, nullptr, {})
          .ok());
  struct Case {
    std::string path, word, stored;
    torch::Dtype dtype;
  };
  for (const Case& c :
       {Case{path, "auto", "BF16", torch::kBFloat16}, Case{path, "float32", "F32", torch::kFloat32},
        Case{path_, "bfloat16", "BF16", torch::kBFloat16},
        Case{path_, "auto", "F32", torch::kFloat32}}) {
    const auto base = LoadBase(Open(c.path), "job", c.word);
    ASSERT_TRUE(base.ok()) << base.status();
    const weights::Manifest& manifest = base->image->manifest();
    EXPECT_EQ(manifest.tensors[0].dtype, c.stored);
    EXPECT_TRUE(weights::SameBits(manifest, LearnersImage(c.path, c.dtype)->manifest()))
        << c.path << " in " << c.word;
  }
  const uint64_t half = LoadBase(Open(path_), "job", "bfloat16").value().image->bytes().size();
  const uint64_t whole = LoadBase(Open(path_), "job", "float32").value().image->bytes().size();
  EXPECT_LT(half, whole * 6 / 10);  // padding between tensors stays
}

TEST_F(PolicyCacheTest, AVersionIsMadeOnceAndItsParametersAreTheImagesBytes) {
  PolicyCache cache(Open(path_).descriptor());
  const auto image = Version(1, 11);
  const auto policy = Get(cache, image);
  EXPECT_EQ(Get(cache, image), policy);
  const weights::TensorSpec& first = image->manifest().tensors[0];
  EXPECT_EQ(policy->NamedParameters()[0].second.const_data_ptr(),
            static_cast<const void*>(image->TensorBytes(first).data()));
}

TEST_F(PolicyCacheTest, OtherBitsUnderANumberAreAnotherPolicy) {
  PolicyCache cache(Open(path_).descriptor());
  const torch::Tensor before = Logits(*Get(cache, Version(1, 11)));
  const torch::Tensor after = Logits(*Get(cache, Version(1, 12, /*generation=*/1)));
  EXPECT_FALSE(torch::equal(before, after));
}

TEST_F(PolicyCacheTest, AKeptPolicyOutlivesItsImageInTheStore) {
  PolicyCache cache(Open(path_).descriptor());
  std::shared_ptr<const weights::Image> one = Version(1, 11), two = Version(2, 12);
  const std::weak_ptr<const weights::Image> image_one = one, image_two = two;
  const auto policy = Get(cache, one);
  Get(cache, two);
  const torch::Tensor before = Logits(*policy).clone();
  one.reset();
  two.reset();
  cache.KeepOnly({1, 7});
  EXPECT_FALSE(image_one.expired());
  EXPECT_TRUE(image_two.expired());
  EXPECT_TRUE(torch::equal(Logits(*policy), before));
}

TEST_F(PolicyCacheTest, APolicyInUseOutlivesTheCachesInterest) {
  PolicyCache cache(Open(path_).descriptor());
  std::shared_ptr<const weights::Image> one = Version(1, 11);
  const std::weak_ptr<const weights::Image> image = one;
  std::shared_ptr<const model::Transformer> policy = Get(cache, one);
  const torch::Tensor before = Logits(*policy).clone();
  one.reset();
  cache.KeepOnly({});
  EXPECT_TRUE(torch::equal(Logits(*policy), before));
  policy.reset();
  EXPECT_TRUE(image.expired());
}

TEST_F(PolicyCacheTest, ThreadsThatWantOneVersionAtOnceGetThatVersion) {
  PolicyCache cache(Open(path_).descriptor());
  const auto image = Version(1, 11);
  std::vector<std::shared_ptr<const model::Transformer>> policies(4);
  std::vector<std::thread> threads;
  for (auto& policy : policies) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        policy = Get(cache, image);
        cache.KeepOnly({});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const torch::Tensor expected = Logits(*Get(cache, image));
  for (const auto& policy : policies) EXPECT_TRUE(torch::equal(Logits(*policy), expected));
}

TEST_F(PolicyCacheTest, WeightsThatArentFiniteAreRefusedNamingVersionAndTensor) {
  const auto model = model::Transformer::Random(Open(path_).descriptor(), 1, {});
  ASSERT_TRUE(model.ok());
  torch::Tensor embedding = (*model)->NamedParameters()[0].second;
  embedding.fill_(std::numeric_limits<float>::quiet_NaN());
  PolicyCache cache(Open(path_).descriptor());
  const auto policy = cache.Get(*training::MakeImage(**model, "job", 9, 0));
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr("version 9"));
  EXPECT_THAT(std::string(policy.status().message()),
              HasSubstr((*model)->NamedParameters()[0].first));
}

}  // namespace
}  // namespace dtrpo::rollout
