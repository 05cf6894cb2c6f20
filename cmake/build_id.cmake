# FACET_BUILD_ID: the version and commit that `facet --version` and every benchmark name.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} describe --always --dirty --abbrev=10
                OUTPUT_VARIABLE FACET_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
set(FACET_BUILD_ID "${PROJECT_VERSION}")
if(FACET_COMMIT)
  string(APPEND FACET_BUILD_ID "+${FACET_COMMIT}")
endif()
