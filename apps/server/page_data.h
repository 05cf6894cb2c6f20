// Bytes of apps/web/index.html, made from it at build time (cmake/embed_file.cmake).
#pragma once

#include <cstddef>

namespace facet::server {

extern const unsigned char kPageData[];
extern const size_t kPageDataSize;

}  // namespace facet::server
