# Whole builds, of which continuous integration has three, compile several files as one: most of a file's time goes
# into the dependencies' headers and templates. For a developer's small changes it is the slower way.
option(FACET_UNITY "Compile several files as one" OFF)
function(facet_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${FACET_UNITY})
  if(FACET_UNITY)
    # A file's unnamed namespace looks to g++ like that of a header.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
  endif()
endfunction()
