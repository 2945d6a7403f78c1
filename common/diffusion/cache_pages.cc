#include "common/diffusion/cache_pages.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::diffusion {

CachePages::CachePages(int32_t block_size, int64_t pages) : block_size_(block_size), pages_(pages) {
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

std::optional<CachePages::Table> CachePages::Acquire(absl::Span<const int32_t> prompt,
                                                     int64_t own_blocks) {
  DTRPO_CHECK_EQ(static_cast<int64_t>(prompt.size()) % block_size_, 0);
  const int64_t prompt_blocks = static_cast<int64_t>(prompt.size()) / block_size_;
  DTRPO_CHECK_LE(prompt_blocks + own_blocks, pages());
  const auto key_of = [&](int64_t block, int32_t before) {
    const absl::Span<const int32_t> tokens = prompt.subspan(block * block_size_, block_size_);
    return Key(before, {tokens.begin(), tokens.end()});
  };

  Table table;
  for (int64_t block = 0; block < prompt_blocks; ++block) {
    const auto found = shared_.find(key_of(block, table.empty() ? -1 : table.back()));
    if (found == shared_.end()) break;
    table.push_back(found->second);
  }
  const int64_t known = static_cast<int64_t>(table.size());
  if (!HasRoom(prompt_blocks + own_blocks - known, table)) return std::nullopt;

  for (const int32_t page : table) {  // before Take(), which drops pages without users
    if (pages_[page].users++ == 0) --unused_shared_;
  }
  for (int64_t block = known; block < prompt_blocks; ++block) {
    const int32_t before = table.empty() ? -1 : table.back();
    const int32_t page = Take();
    Key key = key_of(block, before);
    shared_.emplace(key, page);
    pages_[page] = {.shared = true, .users = 1, .key = std::move(key)};
    if (before >= 0) ++pages_[before].children;
    table.push_back(page);
  }
  for (int64_t block = 0; block < own_blocks; ++block) table.push_back(Take());
  return table;
}

void CachePages::Release(const Table& table) {
  for (const int32_t number : table) {
    Page& page = pages_[number];
    if (!page.shared) {
      free_.push_back(number);
      continue;
    }
    DTRPO_CHECK_GE(page.users, 1);
    if (--page.users > 0) continue;
    page.last_used = ++clock_;
    ++unused_shared_;
  }
}

// `kept`: shared pages that the sequence will use, and that therefore can't be dropped for it.
bool CachePages::HasRoom(int64_t pages, const Table& kept) const {
  const int64_t kept_unused = std::count_if(
      kept.begin(), kept.end(), [this](int32_t page) { return pages_[page].users == 0; });
  return pages <= static_cast<int64_t>(free_.size()) + unused_shared_ - kept_unused;
}

// A free page, else the longest unused one that no other stands on. Whoever uses a page uses those
// before it, so an unused one without children is there while there is an unused one at all.
int32_t CachePages::Take() {
  if (free_.empty()) {
    int32_t oldest = -1;
    for (int32_t i = 0; i < static_cast<int32_t>(pages_.size()); ++i) {
      const Page& page = pages_[i];
      if (!page.shared || page.users > 0 || page.children > 0) continue;
      if (oldest < 0 || page.last_used < pages_[oldest].last_used) oldest = i;
    }
    DTRPO_CHECK_GE(oldest, 0);
    Forget(oldest);
  }
  const int32_t page = free_.back();
  free_.pop_back();
  return page;
}

void CachePages::Forget(int32_t number) {
  Page& page = pages_[number];
  const int32_t before = page.key.first;
  if (before >= 0) --pages_[before].children;
  shared_.erase(page.key);
  page = Page();
  --unused_shared_;
  free_.push_back(number);
}

}  // namespace dtrpo::diffusion
