// The recipes built into the program: hyper-parameters of published settings, by name.
#pragma once

#include <string>
#include <vector>

namespace unroll {

struct Recipe {
  std::string name;     // "zaremba-small", the file's name without .toml
  std::string summary;  // the first comment line of the text
  std::string text;     // TOML, for Config::from_toml(text, "recipe NAME")
};

// All recipes, in the order of the list in cmake/recipes.cmake.
const std::vector<Recipe>& recipes();

// Throws Error(usage) that names the nearest recipe and lists all.
const Recipe& find_recipe(const std::string& name);

}  // namespace unroll
