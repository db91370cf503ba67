// The files of a published model's folder, by their names.
#pragma once

#include <string>

namespace subquad {

bool is_weights_file(const std::string& name);
// What gives ids their meaning: tokenizer, chat template, special ids.
bool is_text_file(const std::string& name);
// Both, and the configuration: everything that is read of such a folder.
bool is_model_file(const std::string& name);

// Copies the regular files of `from` whose name is `wanted` into `to`, which is created; links become
// files. Errors: io, out_of_space.
void copy_model_files(const std::string& from, const std::string& to,
                      bool (*wanted)(const std::string& name));

// Creates the folder of a model that is to be written. Errors: invalid_argument, naming the file, if
// it holds a configuration or weights already: nothing is replaced; io.
void refuse_model_in(const std::string& folder);
void create_model_folder(const std::string& folder);

}  // namespace subquad
