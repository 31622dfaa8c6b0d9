#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace tessera::simt {

/// A stream of the interpreter. Its work is done before the call that asks for it returns, unless
/// it is being recorded.
struct Queue {
  using Recorded = std::vector<std::function<void()>>;
  Recorded* recording = nullptr;
};

/// Does `work`, or notes it down where the queue is being recorded. No queue (null) never is.
template <class Work>
void enqueue(void* queue, Work&& work) {
  auto* const q = static_cast<Queue*>(queue);
  if (q && q->recording)
    q->recording->emplace_back(std::forward<Work>(work));
  else
    work();
}

}  // namespace tessera::simt
