// What the generated source offers: the recipe files as they are.
#pragma once

#include <string>
#include <vector>

namespace unroll {

struct RecipeText {
  std::string name, text;
};

const std::vector<RecipeText>& recipe_texts();

}  // namespace unroll
