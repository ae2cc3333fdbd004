// A command never leaves a model where the one lies that it is made of: writing begins with taking away what is there.
#pragma once

#include <string>

namespace athanor::llm {

// Whether two paths lead to one place, also through links, relatively, and where nothing is yet.
bool same_place(const std::string& a, const std::string& b);

// Throws kConflict, which names --out, when that is the place `path` of what it is made of; `whose` is "the model's".
void check_own_place(const std::string& out, const std::string& whose, const std::string& path);

}  // namespace athanor::llm
