#include "tessera/runtime/config.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
using test::TemporaryFolder;

enum class Model { mlp, gcn, gat };
constexpr std::string_view model_names[] = {"mlp", "gcn", "gat"};
std::string_view to_string(Model model) { return model_names[static_cast<int>(model)]; }
void parse(std::string_view text, Model& model) { parse_enum(text, model_names, model); }

struct Adam {
  float lr = 0.1f;
  double beta1 = 0.9;
  bool decoupled = false;
  static void visit(auto& self, auto&& f) {
    f("lr", self.lr, "learning rate", Bounds::finite());
    f("beta1", self.beta1);
    f("decoupled", self.decoupled);
  }
};

struct Inner {
  Adam adam;
  int warmup = 10;
  static void visit(auto& self, auto&& f) {
    f("adam", self.adam);
    f("warmup", self.warmup, "steps");
  }
};

struct Settings {
  int epochs = 200;
  uint64_t seed = 7;
  int8_t bits = 4;
  double dropout = 0.5;
  std::string name = "run";
  Model model = Model::gcn;
  std::vector<int> hidden{16};
  std::vector<Model> models;
  std::vector<bool> flags;
  DType dtype = DType::f32;
  Device device;
  Inner training;
  static void visit(auto& self, auto&& f) {
    f("epochs", self.epochs, "passes over the data", Bounds::at_least(1));
    f("seed", self.seed);
    f("bits", self.bits);
    f("dropout", self.dropout, "", Bounds::up_to_below(0, 1));
    f("name", self.name);
    f("model", self.model, "mlp, gcn or gat");
    f("hidden", self.hidden, "", Bounds::between(1, 4096));
    f("models", self.models);
    f("flags", self.flags);
    f("dtype", self.dtype);
    f("device", self.device);
    f("training", self.training);
  }
};

TEST(Config, ReadsNestedJson) {
  Settings s;
  parse_config(s, R"({"epochs": 5, "seed": 18446744073709551615, "dropout": 0, "model": "gat",
                      "hidden": [64, 32], "models": ["mlp", "gcn"], "dtype": "bf16",
                      "training": {"adam": {"lr": 0.25, "decoupled": true}}})",
               "c.json");
  EXPECT_EQ(s.epochs, 5);
  EXPECT_EQ(s.seed, UINT64_MAX);
  EXPECT_EQ(s.dropout, 0);
  EXPECT_EQ(s.model, Model::gat);
  EXPECT_EQ(s.hidden, (std::vector{64, 32}));
  EXPECT_EQ(s.models, (std::vector{Model::mlp, Model::gcn}));
  EXPECT_EQ(s.dtype, DType::bf16);
  EXPECT_EQ(s.training.adam.lr, 0.25f);
  EXPECT_TRUE(s.training.adam.decoupled);
  EXPECT_EQ(s.training.warmup, 10) << "what the file does not name keeps its default";
  EXPECT_EQ(s.name, "run");
}

TEST(Config, Overrides) {
  Settings s;
  for (const char* assignment :
       {"epochs=1e3", "seed=18446744073709551615", "bits=-128", "dropout=1e-3", "name=a=b, c",
        "model=mlp", "hidden=1, 2,3", "models=[\"gat\"]", "flags=true,0", "training.adam.lr=3",
        "training.adam.beta1=inf", "device=cuda:2"})
    set_config(s, assignment);
  EXPECT_EQ(s.epochs, 1000);
  EXPECT_EQ(s.seed, UINT64_MAX);
  EXPECT_EQ(s.bits, -128);
  EXPECT_EQ(s.dropout, 1e-3);
  EXPECT_EQ(s.name, "a=b, c");
  EXPECT_EQ(s.model, Model::mlp);
  EXPECT_EQ(s.hidden, (std::vector{1, 2, 3}));
  EXPECT_EQ(s.models, std::vector{Model::gat});
  EXPECT_EQ(s.flags, (std::vector{true, false}));
  EXPECT_EQ(s.training.adam.lr, 3);
  EXPECT_EQ(s.training.adam.beta1, std::numeric_limits<double>::infinity());
  EXPECT_EQ(s.device, Device::cuda(2));
  set_config(s, "hidden=");
  EXPECT_TRUE(s.hidden.empty());
  set_config(s, "name=");
  EXPECT_EQ(s.name, "");
}

TEST(Config, WhatItWritesReadsBackTheSame) {
  Settings s;
  for (const char* assignment :
       {"dropout=0.1", "name=\"q\" \\ \xc3\xa9", "hidden=3,5", "flags=1,0",
        "training.adam.beta1=-inf", "seed=9223372036854775808", "model=gat"})
    set_config(s, assignment);
  Settings copy;
  parse_config(copy, to_string(config_json(s), 2), "copy");
  EXPECT_EQ(to_string(config_json(copy)), to_string(config_json(s)));
  EXPECT_EQ(config_hash(copy), config_hash(s));
  EXPECT_EQ(copy.training.adam.beta1, -std::numeric_limits<double>::infinity());
  EXPECT_NE(to_string(config_json(s)).find("\"lr\":0.1,"), std::string::npos)
      << "floats print as floats";
}

TEST(Config, HashTellsSettingsApart) {
  // FNV-1a of {"lr":0.1,"beta1":0.9,"decoupled":false}, computed by hand with an independent
  // program.
  EXPECT_EQ(config_hash(Adam{}), "0dfa43e7b583fcac");
  Adam other;
  other.beta1 = 0.8;
  EXPECT_NE(config_hash(other), config_hash(Adam{}));
}

TEST(Config, DifferenceNamesTheSettings) {
  Settings a;
  EXPECT_EQ(config_difference(a, Settings{}), "");
  Settings b = a;
  set_config(a, "hidden=16");
  set_config(b, "hidden=3,5");
  set_config(a, "training.adam.beta1=0.9");
  set_config(b, "training.adam.beta1=0.8");
  EXPECT_EQ(config_difference(a, b), "hidden: [16] -> [3,5], training.adam.beta1: 0.9 -> 0.8");
}

TEST(Config, DescribesEverySetting) {
  const std::string text = describe_config(Settings{});
  EXPECT_NE(text.find("training.adam.lr        = 0.1    learning rate; finite\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("epochs                  = 200    passes over the data; at least 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("models                  = []\n"), std::string::npos) << text;
}

TEST(Config, ErrorsNameKeyAndExpectation) {
  Settings s;
  const auto refuses = [&](const char* assignment, const std::vector<std::string>& parts) {
    expect_error([&] { set_config(s, assignment); }, parts, ErrorKind::invalid_argument);
  };
  refuses("epochs", {"key=value", "'epochs'"});
  refuses("=3", {"key=value"});
  refuses("epoch=3", {"unknown setting 'epoch'", "did you mean 'epochs'"});
  refuses("traning.adam.beta1=3", {"did you mean 'training.adam.beta1'"});
  refuses("beta1=0.5", {"did you mean 'training.adam.beta1'"});
  refuses("lr=1", {"did you mean 'training.adam.lr'"});
  refuses("training.adam=3", {"group", "training.adam.lr, training.adam.beta1"});
  refuses("epochs=x", {"epochs", "integer", "'x'"});
  refuses("epochs=", {"epochs", "integer"});
  refuses("epochs=3.5", {"epochs", "integer", "3.5"});
  refuses("epochs=0", {"epochs", "expected an integer, at least 1, found 0"});
  refuses("epochs=-3", {"epochs", "at least 1", "-3"});
  refuses("dropout=1", {"dropout", "expected a number, from 0 to below 1, found 1"});
  refuses("dropout=nan", {"dropout", "from 0 to below 1", "nan"});
  refuses("hidden=64,0,64", {"hidden", "an integer, from 1 to 4096, found 0"});
  refuses("hidden=[64,5000]", {"hidden", "from 1 to 4096", "5000"});
  refuses("training.adam.lr=inf", {"training.adam.lr", "a number, finite", "inf"});
  refuses("nothing.like.it=1", {"unknown setting", "the settings are epochs, seed, bits,"});
  refuses("epochs=3000000000", {"epochs", "from -2147483648 to 2147483647"});
  refuses("bits=128", {"bits", "from -128 to 127"});
  refuses("seed=-1", {"seed", "from 0 to 18446744073709551615"});
  refuses("dropout=half", {"dropout", "number"});
  refuses("dropout=0.5x", {"dropout", "number"});
  refuses("training.adam.decoupled=maybe", {"training.adam.decoupled", "true or false"});
  refuses("model=gcm", {"model", "mlp, gcn, gat", "did you mean 'gcn'"});
  refuses("hidden=1,,2", {"hidden", "integer"});
  refuses("hidden=[1", {"hidden", "JSON"});
  refuses("hidden=[1,\"a\"]", {"hidden", "integer", "\"a\""});
  refuses("dtype=f33", {"dtype", "f33", "f32"});
  refuses("device=gpu", {"device", "gpu"});

  const auto refuses_file = [&](const char* json, ErrorKind kind,
                                const std::vector<std::string>& parts) {
    expect_error([&] { parse_config(s, json, "c.json"); }, parts, kind);
  };
  refuses_file("{\"epochs\": 3", ErrorKind::io, {"c.json", "byte"});
  refuses_file("[]", ErrorKind::io, {"c.json", "object"});
  refuses_file(R"({"epochs": 1, "epochs": 2})", ErrorKind::io, {"c.json", "epochs", "repeated"});
  refuses_file(R"({"epochs": "3"})", ErrorKind::invalid_argument,
               {"c.json", "epochs", "integer", "\"3\""});
  refuses_file(R"({"dropout": -0.5})", ErrorKind::invalid_argument,
               {"c.json", "dropout", "from 0 to below 1", "-0.5"});
  refuses_file(R"({"name": 3})", ErrorKind::invalid_argument, {"name", "text"});
  refuses_file(R"({"training": {"adam": {"beta_1": 3}}})", ErrorKind::invalid_argument,
               {"c.json", "'training.adam.beta_1'", "did you mean 'training.adam.beta1'"});
  refuses_file(R"({"hidden": 3})", ErrorKind::invalid_argument, {"hidden", "list"});
  refuses_file(R"({"training": 3})", ErrorKind::invalid_argument, {"'training' is a group"});
  refuses_file(R"({"dropout": true})", ErrorKind::invalid_argument, {"dropout", "number", "true"});
  expect_error([&] { load_config(s, "/no/such.json"); }, {"/no/such.json", "No such file"});
}

TEST(Config, AnErrorChangesNothing) {
  Settings s;
  const std::string before = config_hash(s);
  expect_error([&] { parse_config(s, R"({"epochs": 3, "name": 4})", "c"); }, {"name"},
               ErrorKind::invalid_argument);
  EXPECT_EQ(config_hash(s), before);
}

TEST(Config, LoadsFiles) {
  const TemporaryFolder folder;
  test::write_bytes(folder / "c.json", R"({"epochs": 9})");
  Settings s;
  load_config(s, folder / "c.json");
  EXPECT_EQ(s.epochs, 9);
  test::write_bytes(folder / "empty.json", "");
  expect_error([&] { load_config(s, folder / "empty.json"); }, {"empty.json", "JSON"});
}

TEST(Config, NearestName) {
  const std::string_view names[] = {"learning_rate", "momentum", "decay"};
  EXPECT_EQ(nearest_name("learnin_rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("dceay", names), "decay");
  EXPECT_EQ(nearest_name("MOMENTUM", names), "");
  EXPECT_EQ(nearest_name("x", names), "");
  EXPECT_EQ(nearest_name("", names), "");
}

}  // namespace
}  // namespace tessera
