#pragma once

/// One function compiled for several instruction sets, chosen by the processor it runs on: the
/// arithmetic of tensor-core instructions is the only part of the interpreter that gains from wide
/// vectors.
namespace tessera::simt {

#if defined(__x86_64__)
enum class Level { baseline, v3, v4 };

inline Level processor_level() {
  static const Level level = __builtin_cpu_supports("x86-64-v4")   ? Level::v4
                             : __builtin_cpu_supports("x86-64-v3") ? Level::v3
                                                                   : Level::baseline;
  return level;
}

/// Body::run(arguments...) must be always_inline, and all that it calls with it.
template <class Body, class... Arguments>
struct ForLevels {
  static void baseline(Arguments... arguments) { Body::run(arguments...); }
  __attribute__((target("arch=x86-64-v3"))) static void v3(Arguments... arguments) {
    Body::run(arguments...);
  }
  __attribute__((target("arch=x86-64-v4,prefer-vector-width=512"))) static void v4(
      Arguments... arguments) {
    Body::run(arguments...);
  }
  static auto chosen() {
    const Level level = processor_level();
    return level == Level::v4 ? &v4 : level == Level::v3 ? &v3 : &baseline;
  }
};
#else
template <class Body, class... Arguments>
struct ForLevels {
  static void baseline(Arguments... arguments) { Body::run(arguments...); }
  static auto chosen() { return &baseline; }
};
#endif

}  // namespace tessera::simt
