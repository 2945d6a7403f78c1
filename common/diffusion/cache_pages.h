// Thread safety: one thread at a time. No torch.
//
// Who owns which rows of a KvCache. It is cut into pages of one block (B rows); page i of a
// sequence holds its block i, prompt included, and all its pages are taken before it begins, so
// that a sequence which was let in always finishes.
//
// A whole block of a prompt depends on nothing behind it (block-causal attention), so its page is
// shared by all sequences that begin with the same blocks: the samples of one prompt, and prompts
// with a common beginning. Such a page keeps its content when its last user leaves, until its place
// is needed: of the unused ones the longest unused goes first, and a page always after those behind
// it.
//
// Letters: B block size, P0 prompt tokens rounded down to whole blocks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace dtrpo::diffusion {

class CachePages {
 public:
  // Pages by number, in the order of the blocks.
  using Table = std::vector<int32_t>;

  CachePages(int32_t block_size, int64_t pages);

  int32_t block_size() const { return block_size_; }
  int64_t pages() const { return static_cast<int64_t>(pages_.size()); }
  // Those of sequences that were let in and haven't left.
  int64_t used() const { return pages() - static_cast<int64_t>(free_.size()) - unused_shared_; }

  // Pages for a sequence whose prompt's whole blocks hold `prompt` [P0], and `own_blocks` behind
  // them. Nothing while there is no room. REQUIRES: they fit into an empty cache.
  std::optional<Table> Acquire(absl::Span<const int32_t> prompt, int64_t own_blocks);
  void Release(const Table& table);

  // Whether the page holds the keys and values of its block. Only shared pages are ever marked.
  bool filled(int32_t page) const { return pages_[page].filled; }
  void set_filled(int32_t page) { pages_[page].filled = true; }

 private:
  // Blocks with the same beginning are children of the same page; -1: the first block.
  using Key = std::pair<int32_t, std::vector<int32_t>>;
  struct Page {
    bool shared = false;
    bool filled = false;
    int32_t users = 0;
    int32_t children = 0;   // shared pages behind it, in use or not
    int64_t last_used = 0;  // value of clock_ when its last user left
    Key key;
  };

  bool HasRoom(int64_t pages, const Table& kept) const;
  int32_t Take();
  void Forget(int32_t page);

  int32_t block_size_;
  std::vector<Page> pages_;
  std::vector<int32_t> free_;      // hold nothing
  std::map<Key, int32_t> shared_;  // pages that hold a prompt's block
  int64_t unused_shared_ = 0;      // of those, without users
  int64_t clock_ = 0;
};

}  // namespace dtrpo::diffusion
