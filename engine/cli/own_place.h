// A command never leaves a model where the one lies that it is made of, or another: writing takes away what is there.
#pragma once

#include <string>

#include "common/files.h"

namespace athanor::llm {

// Whether two paths lead to one place, also through links, relatively, and where nothing is yet.
bool same_place(const std::string& a, const std::string& b);

// Throws kConflict, which names --out, when that is the place `path` of what it is made of; `whose` is "the model's".
void check_own_place(const std::string& out, const std::string& whose, const std::string& path);

// Throws kConflict, which names --out, when a model or adapters lie there already.
void check_new_place(Files& files, const std::string& out);

}  // namespace athanor::llm
