// Removes what others left behind: a folder whose inner folders may lack the permissions that removing them needs, or may
// be nested deeper than there are descriptors. Their owner is the caller, or the caller is root.
#pragma once

#include <string>

namespace athanor {

// Links are removed, not followed, and nothing outside is touched, whatever another process does inside meanwhile.
// Nothing to do when absent. Throws athanor::Error with what could not be removed.
void remove_tree(const std::string& path);

}  // namespace athanor
