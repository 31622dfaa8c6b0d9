#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

/// Who has touched which word of memory, for the tracer.
namespace tessera::simt {

constexpr int slots_per_word = 4;
constexpr uintptr_t word_bytes = 4;

/// Somebody's access to a word of memory.
struct Seen {
  const void* site = nullptr;
  uint64_t launch = 0;  // 0: nothing
  uint64_t block = 0;
  uint32_t clock = 0;
  uint16_t thread = 0;  // among the threads that run side by side
  uint8_t bytes = 0;    // of the word, one bit each
  bool write = false, atomic = false;
  bool proxy = false;  // by the asynchronous proxy
};
struct Word {
  Seen seen[slots_per_word];
  uint64_t laid_out_by = 0;  // the group of blocks one of whose boxes lies here
  uint32_t swizzle = 0;      // of that box
};

/// Shadow of memory in pages.
class Shadow {
 public:
  static constexpr uintptr_t page_bytes = 4096;
  Word& word(uintptr_t address) {
    const uintptr_t page = address / page_bytes;
    if (page != page_ || !words_) {
      auto& slot = pages_[page];
      if (!slot) slot = std::make_unique<Word[]>(page_bytes / word_bytes);
      page_ = page;
      words_ = slot.get();
    }
    return words_[address % page_bytes / word_bytes];
  }
  void clear() {
    pages_.clear();
    words_ = nullptr;
  }
  size_t pages() const { return pages_.size(); }

 private:
  std::unordered_map<uintptr_t, std::unique_ptr<Word[]>> pages_;
  uintptr_t page_ = 0;
  Word* words_ = nullptr;
};

}  // namespace tessera::simt
