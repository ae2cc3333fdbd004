// What of CreateTrainingJob we honour. A member that we do not honour yet is refused by name, never ignored; a value of
// it that asks for nothing (false, None, 0) passes, since clients send such values of their own accord.
#pragma once

#include <string>
#include <string_view>

#include "common/json.h"

namespace athanor::api {

// Throws ServiceError (ValidationException) naming the first member that would be ignored, and what would do.
void refuse_what_is_not_honoured(const json::object& create_training_job);

// The image that a TrainingImage names: of each there is one, so ":latest" says nothing. Any other tag, registry or digest
// stays, and makes it an image that is not here.
std::string training_image(std::string_view given);

// The rules that shapes cannot express: what excludes or needs what, images and URIs that exist here, expressions that
// compile. Throws ServiceError in the service's wording.
void check_meaning(const json::object& create_training_job);

}  // namespace athanor::api
