# Recipes are files for people and part of the program: their texts become one generated source.
set(UNROLL_RECIPES zaremba-small zaremba-medium zaremba-large awd-lstm awd-lstm-mos
  awd-lstm-mos-adv awd-lstm-wikitext2 wikitext2-small wikitext2-small-adaptive
  wikitext2-small-sampled wiki-large-vocab wiki-large-vocab-adaptive char-small demo kn5)

# unroll_embed_recipes(TARGET): adds models/recipes/recipes.h and the texts to a target.
function(unroll_embed_recipes target)
  cmake_path(SET folder NORMALIZE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../models/recipes)
  set(entries "")
  foreach(name ${UNROLL_RECIPES})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${folder}/${name}.toml)
    file(READ ${folder}/${name}.toml text)
    string(APPEND entries "    {\"${name}\", R\"toml(${text})toml\"},\n")
  endforeach()
  set(RECIPE_ENTRIES "${entries}")
  configure_file(${folder}/recipe_texts.cc.in ${CMAKE_CURRENT_BINARY_DIR}/recipe_texts.cc @ONLY)
  target_sources(${target} PRIVATE ${folder}/recipes.cc ${CMAKE_CURRENT_BINARY_DIR}/recipe_texts.cc)
endfunction()
