# Flags that every target of the project is compiled with; dependencies' headers are system headers.
add_library(facet_flags INTERFACE)
target_compile_options(facet_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Werror -fno-math-errno -fno-trapping-math>)
target_include_directories(facet_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
if(FACET_SANITIZE)
  target_compile_options(facet_flags INTERFACE -fsanitize=${FACET_SANITIZE} -fno-omit-frame-pointer
                                               -fno-sanitize-recover=all)
  if(FACET_SANITIZE MATCHES "undefined")
    # What the address sanitizer notices as well, at a third of the compile time.
    target_compile_options(facet_flags INTERFACE -fno-sanitize=null,pointer-overflow,vptr)
  endif()
  # g++ sees uninitialised values and foreign memory behind its own instrumentation; the release build keeps the
  # warnings.
  target_compile_options(facet_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized
                                                   -Wno-mismatched-new-delete>)
  target_link_options(facet_flags INTERFACE -fsanitize=${FACET_SANITIZE})
endif()
