#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/algorithms/experiment.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms {

/// How a user changes the default settings: a JSON file ("" for none), then assignments key=value
/// in order.
struct Settings {
  std::string config_file;
  std::vector<std::string> assignments;
};

/// One line of the program's list.
struct Algorithm {
  std::string_view name;
  std::string_view summary;
  std::function<std::string()>
      describe;  // its settings: one line each with the default and what it means
  std::function<Experiment(const Settings&)>
      configure;  // throws on a setting that does not exist or fit
};

/// The entry of an algorithm whose settings are a Config with its defaults. `resumes`: whether it
/// heeds Context::resume.
template <ConfigStruct Config>
Algorithm algorithm(std::string_view name, std::string_view summary,
                    Report (*run)(const Config&, Context&), bool resumes = false) {
  return {name, summary, [] { return describe_config(Config{}); },
          [name, run, resumes](const Settings& settings) {
            Config config;
            if (!settings.config_file.empty()) load_config(config, settings.config_file);
            for (const std::string& assignment : settings.assignments)
              set_config(config, assignment);
            return Experiment{std::string(name), config_json(config),
                              [config, run](Context& context) { return run(config, context); },
                              resumes};
          }};
}

/// Every algorithm of this build. The list is written out in registry.cpp.
std::span<const Algorithm> registry();

/// The algorithm called `name`; throws naming the nearest one.
const Algorithm& find_algorithm(std::string_view name);

}  // namespace tessera::algorithms
