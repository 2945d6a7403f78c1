#include "common/wire/item_body.h"

#include <zstd.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace dtrpo::wire {
namespace {

// Level 1 is 5 times as fast as 3 on token ids and gives away 2 % of the size.
constexpr int kLevel = 1;
constexpr unsigned long long kMostBytes = 1ull << 31;  // beyond any message; guards allocation

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("a stored item: ", what));
}

// What a thread compresses with: making one anew for each item would cost more than the item.
ZSTD_CCtx* Compressor() {
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };
  thread_local const std::unique_ptr<ZSTD_CCtx, Free> context = [] {
    std::unique_ptr<ZSTD_CCtx, Free> made(ZSTD_createCCtx());
    DTRPO_CHECK(made != nullptr) << "zstd: out of memory";
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(made.get(), ZSTD_c_checksumFlag, 1);
    return made;
  }();
  return context.get();
}

}  // namespace

std::string EncodeItemBody(v1::ReplayItemBody item) {
  if (item.has_pair()) item.mutable_pair()->mutable_rejected()->clear_prompt_tokens();
  for (int i = 1; i < item.group().trajectories_size(); ++i) {
    item.mutable_group()->mutable_trajectories(i)->clear_prompt_tokens();
  }
  const std::string plain = item.SerializeAsString();
  const size_t room = ZSTD_compressBound(plain.size());
  const std::unique_ptr<char[]> bytes(new char[1 + room]);  // left as it is: zeros take time
  bytes[0] = kItemBodyFormat;
  const size_t size =
      ZSTD_compress2(Compressor(), bytes.get() + 1, room, plain.data(), plain.size());
  DTRPO_CHECK(!ZSTD_isError(size)) << "zstd: " << ZSTD_getErrorName(size);
  return std::string(bytes.get(), 1 + size);
}

absl::StatusOr<v1::ReplayItemBody> DecodeItemBody(absl::string_view bytes) {
  if (bytes.empty() || bytes[0] != kItemBodyFormat) {
    return Damaged(absl::StrCat("format ", bytes.empty() ? 0 : static_cast<int>(bytes[0]),
                                ", this program reads ", kItemBodyFormat));
  }
  bytes.remove_prefix(1);
  const unsigned long long size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > kMostBytes) {
    return Damaged("no zstd frame with a size");
  }
  std::string plain(size, '\0');
  const size_t got = ZSTD_decompress(plain.data(), plain.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got)) return Damaged(absl::StrCat("zstd: ", ZSTD_getErrorName(got)));
  v1::ReplayItemBody item;
  if (got != size || !item.ParseFromString(plain)) return Damaged("not a ReplayItemBody");
  if (item.has_pair()) {
    *item.mutable_pair()->mutable_rejected()->mutable_prompt_tokens() =
        item.pair().chosen().prompt_tokens();
  }
  for (int i = 1; i < item.group().trajectories_size(); ++i) {
    *item.mutable_group()->mutable_trajectories(i)->mutable_prompt_tokens() =
        item.group().trajectories(0).prompt_tokens();
  }
  return item;
}

}  // namespace dtrpo::wire
