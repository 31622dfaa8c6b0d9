#pragma once

namespace tessera {

/// Asks long work to stop at its next safe point. Async-signal-safe.
void request_stop() noexcept;
bool stop_requested() noexcept;
void clear_stop_request() noexcept;

}  // namespace tessera
