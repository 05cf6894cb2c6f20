# The dependencies that are nearly all of a small file's compile time, parsed once a target. Static analysis goes
# without (its clang cannot read g++'s), which also shows that every file includes what it uses.
option(FACET_PCH "Precompile the dependencies' headers" ON)
function(facet_precompile target)
  if(FACET_PCH)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# For targets that are compiled with the same flags and definitions as `from`.
function(facet_precompile_as target from)
  if(FACET_PCH)
    target_precompile_headers(${target} REUSE_FROM ${from})
  endif()
endfunction()
