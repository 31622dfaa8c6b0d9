#pragma once

namespace tessera {

/// Receives the begin and end of profile ranges; a module that can annotate a timeline installs
/// one.
struct ProfileSink {
  void (*begin)(const char* name) = nullptr;
  void (*end)() = nullptr;
};
inline ProfileSink profile_sink;

/// A named range on the profiler's timeline for as long as the object lives; free when no sink is
/// set.
class ProfileRange {
 public:
  explicit ProfileRange(const char* name) {
    if (profile_sink.begin) profile_sink.begin(name);
  }
  ~ProfileRange() {
    if (profile_sink.end) profile_sink.end();
  }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;
};

}  // namespace tessera
