// Recipes by name, over the texts that the build embeds.
#include "models/recipes/recipes.h"

#include "host/io/parse.h"
#include "kernels/base/error.h"
#include "models/recipes/recipe_texts.h"

namespace unroll {

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = [] {
    std::vector<Recipe> list;
    for (const RecipeText& t : recipe_texts()) {
      const std::string first = t.text.substr(0, t.text.find('\n'));
      list.push_back({t.name, first.substr(first.find_first_not_of("# ")), t.text});
    }
    return list;
  }();
  return all;
}

const Recipe& find_recipe(const std::string& name) {
  std::vector<std::string> names;
  std::string listed;
  for (const Recipe& r : recipes()) {
    if (r.name == name) return r;
    names.push_back(r.name);
    listed += (listed.empty() ? "" : ", ") + r.name;
  }
  throw Error(ErrorKind::usage, "there is no recipe '" + name + "'" + did_you_mean(name, names) +
                                    "; recipes: " + listed + ", or a path that ends in .toml");
}

}  // namespace unroll
